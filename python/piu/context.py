"""Contexts: the stdlib's, with the factories of what piu has a type of its own for.

The default context keeps no state: its start method is that of the stdlib's default context.
"""

import multiprocessing.context as stock

from . import _life, _start
from multiprocessing.context import (  # noqa: F401: the same objects, under this name too
    AuthenticationError, BaseContext, BufferTooShort, ProcessError, TimeoutError,
    assert_spawning, get_spawning_popen, process, reduction, set_spawning_popen)

__all__ = ()


class Factories:
    """What piu makes.  A factory that is not here is the stdlib's, on locks of piu's."""

    def Lock(self):
        '''Returns a non-recursive lock object'''
        from .synchronize import Lock
        return Lock(ctx=self.get_context())

    def RLock(self):
        '''Returns a recursive lock object'''
        from .synchronize import RLock
        return RLock(ctx=self.get_context())

    def Condition(self, lock=None):
        '''Returns a condition object'''
        from .synchronize import Condition, stock, takes_lock
        if takes_lock(lock):
            return Condition(lock, ctx=self.get_context())
        return stock.Condition(lock, ctx=self.get_context())

    def Semaphore(self, value=1, *, recover=False):
        '''Returns a semaphore object; recover: units of a killed holder come back'''
        from .synchronize import Semaphore
        return Semaphore(value, recover=recover, ctx=self.get_context())

    def BoundedSemaphore(self, value=1):
        '''Returns a bounded semaphore object'''
        from .synchronize import BoundedSemaphore
        return BoundedSemaphore(value, ctx=self.get_context())

    def Event(self):
        '''Returns an event object'''
        from .synchronize import Event
        return Event(ctx=self.get_context())

    def Barrier(self, parties, action=None, timeout=None):
        '''Returns a barrier object'''
        from .synchronize import Barrier
        return Barrier(parties, action, timeout, ctx=self.get_context())

    def Queue(self, maxsize=0):
        '''Returns a queue object'''
        from .queues import Queue
        return Queue(maxsize, ctx=self.get_context())

    def JoinableQueue(self, maxsize=0):
        '''Returns a queue object'''
        from .queues import JoinableQueue
        return JoinableQueue(maxsize, ctx=self.get_context())

    def SimpleQueue(self):
        '''Returns a queue object'''
        from .queues import SimpleQueue
        return SimpleQueue(ctx=self.get_context())

    def Pipe(self, duplex=True):
        '''Returns two connections at the ends of a pipe'''
        from ._connection import Pipe
        return Pipe(duplex)

    def RawValue(self, typecode_or_type, *args):
        '''Returns a shared object'''
        from .sharedctypes import RawValue
        return RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type, size_or_initializer):
        '''Returns a shared array'''
        from .sharedctypes import RawArray
        return RawArray(typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type, *args, lock=True):
        '''Returns a synchronized shared object'''
        from .sharedctypes import Value
        return Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Array(self, typecode_or_type, size_or_initializer, *, lock=True):
        '''Returns a synchronized shared array'''
        from .sharedctypes import Array
        return Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context())

    def Pool(self, processes=None, initializer=None, initargs=(), maxtasksperchild=None):
        '''Returns a process pool object'''
        from .pool import Pool
        return Pool(processes, initializer, initargs, maxtasksperchild,
                    context=self.get_context())


FACTORIES = [name for name in vars(Factories) if not name.startswith('_')]


class Chooses:
    """get_context(): piu's contexts for the stdlib's, and others' as they are."""

    def get_context(self, method=None):
        context = super().get_context(method)
        return _own.get(type(context), context)


# Processes: what starts them is the stdlib's; see _start.py.

class ForkProcess(_life.StartsInWorkers, stock.ForkProcess):
    pass


class SpawnProcess(_life.StartsInWorkers, stock.SpawnProcess):
    pass


class ForkServerProcess(_life.StartsInWorkers, stock.ForkServerProcess):

    @staticmethod
    def _Popen(process_obj):
        from ._zygote import Popen
        return Popen(process_obj)


class ForkContext(Factories, Chooses, stock.ForkContext):
    Process = ForkProcess


class SpawnContext(Factories, Chooses, stock.SpawnContext):
    Process = SpawnProcess


class ForkServerContext(Factories, Chooses, stock.ForkServerContext):
    Process = ForkServerProcess


_concrete_contexts = {
    'fork': ForkContext(),
    'spawn': SpawnContext(),
    'forkserver': ForkServerContext(),
}
_own = {getattr(stock, type(context).__name__): context
        for context in _concrete_contexts.values()}


class Process(_life.StartsInWorkers, stock.Process):

    @staticmethod
    def _Popen(process_obj):
        return _default_context.get_context().Process._Popen(process_obj)


class DefaultContext(Factories, Chooses, stock.DefaultContext):

    Process = Process

    def __init__(self):
        pass

    @property
    def _default_context(self):
        return stock._default_context._default_context

    @property
    def _actual_context(self):
        return stock._default_context._actual_context

    @_actual_context.setter
    def _actual_context(self, context):
        stock._default_context._actual_context = _stock_of(context)


def _stock_of(context):
    """The stdlib's context that one of piu's stands for."""
    for kind, own in _own.items():
        if own is context:
            return stock._concrete_contexts[kind._name]
    return context


_default_context = DefaultContext()

_start.begin()


def _force_start_method(method):
    stock._force_start_method(method)
