"""RawValue, RawArray, Value, Array: ctypes objects whose bytes lie in the arena.

Memory is the stdlib's BufferWrapper without its file: everything else here is the stdlib's,
the same objects.
"""

import ctypes
from multiprocessing.sharedctypes import (  # noqa: F401: the same objects, under this name too
    Synchronized, SynchronizedArray, SynchronizedBase, SynchronizedString, class_cache,
    make_property, prop_cache, rebuild_ctype, reduce_ctype, synchronized, template,
    typecode_to_type)

from . import _piu, context

__all__ = ['RawValue', 'RawArray', 'Value', 'Array', 'copy', 'synchronized']


def _new_value(type_):
    """Zeroed."""
    return rebuild_ctype(type_, _piu.Memory(ctypes.sizeof(type_)), None)


def RawValue(typecode_or_type, *args):
    '''Returns a ctypes object allocated from shared memory'''
    value = _new_value(typecode_to_type.get(typecode_or_type, typecode_or_type))
    value.__init__(*args)
    return value


def RawArray(typecode_or_type, size_or_initializer):
    '''Returns a ctypes array allocated from shared memory'''
    type_ = typecode_to_type.get(typecode_or_type, typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _new_value(type_ * size_or_initializer)
    array = _new_value(type_ * len(size_or_initializer))
    array.__init__(*size_or_initializer)
    return array


def copy(obj):
    value = _new_value(type(obj))
    ctypes.pointer(value)[0] = obj
    return value


def _synchronized(obj, lock, ctx):
    """As Value() and Array() of the stdlib understand `lock`."""
    if lock is False:
        return obj
    if lock in (True, None):
        lock = (ctx or context._default_context.get_context()).RLock()
    if not hasattr(lock, 'acquire'):
        raise AttributeError("%r has no method 'acquire'" % lock)
    return synchronized(obj, lock, ctx=ctx)


def Value(typecode_or_type, *args, lock=True, ctx=None):
    '''Return a synchronization wrapper for a Value'''
    return _synchronized(RawValue(typecode_or_type, *args), lock, ctx)


def Array(typecode_or_type, size_or_initializer, *, lock=True, ctx=None):
    '''Return a synchronization wrapper for a RawArray'''
    return _synchronized(RawArray(typecode_or_type, size_or_initializer), lock, ctx)
