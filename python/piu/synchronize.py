"""Lock, RLock, Semaphore, BoundedSemaphore, Condition, Event, Barrier.

What waits is C (piu._piu); here are names, defaults and reprs.  Each class is also one of the
stdlib's of the same name, for isinstance().
"""

import threading
import time
from multiprocessing import process, synchronize as stock

from . import _piu

__all__ = ['Lock', 'RLock', 'Semaphore', 'BoundedSemaphore', 'Condition', 'Event', 'Barrier']

SEM_VALUE_MAX = stock.SEM_VALUE_MAX
RECURSIVE_MUTEX, SEMAPHORE = stock.RECURSIVE_MUTEX, stock.SEMAPHORE


def _holder(lock):
    """(who holds it, how often), in the words of the stdlib's reprs."""
    if lock._is_mine():
        name = process.current_process().name
        if threading.current_thread().name != 'MainThread':
            name += '|' + threading.current_thread().name
        return name, lock._count()
    if lock._get_value() == 1:
        return 'None', 0
    return ('SomeOtherThread' if lock._count() > 0 else 'SomeOtherProcess'), 'nonzero'


class Lock(_piu.Lock, stock.Lock):

    kind, maxvalue, name, handle = SEMAPHORE, 1, None, 0

    def __init__(self, *, ctx=None):
        pass

    def __repr__(self):
        return f'<{type(self).__name__}(owner={_holder(self)[0]})>'


class RLock(_piu.RLock, stock.RLock):

    kind, maxvalue, name, handle = RECURSIVE_MUTEX, 1, None, 0

    def __init__(self, *, ctx=None):
        pass

    def __repr__(self):
        return '<%s(%s, %s)>' % (type(self).__name__, *_holder(self))


class Semaphore(_piu.Semaphore, stock.Semaphore):
    """recover: the units of a holder that was killed come back."""

    kind, name, handle = SEMAPHORE, None, 0

    def __init__(self, value=1, *, recover=False, ctx=None):
        _piu.Semaphore.__init__(self, value, recover=recover)

    def __repr__(self):
        return f'<{type(self).__name__}(value={self.get_value()})>'


class BoundedSemaphore(_piu.Semaphore, stock.BoundedSemaphore):

    kind, name, handle = SEMAPHORE, None, 0

    def __init__(self, value=1, *, ctx=None):
        _piu.Semaphore.__init__(self, value, bounded=True)

    def __repr__(self):
        return (f'<{type(self).__name__}(value={self.get_value()}, '
                f'maxvalue={self.maxvalue})>')


class _Count:
    """What stock code reads of a condition: the value of one of its three semaphores."""

    def __init__(self, count):
        self.get_value = self._get_value = count

    @property
    def _semlock(self):
        return self


def takes_lock(lock):
    """Can a Condition of piu be made on it?  On other locks it is the stdlib's."""
    return lock is None or isinstance(lock, (_piu.Lock, _piu.RLock))


class Condition(_piu.Condition, stock.Condition):

    def __init__(self, lock=None, *, ctx=None):
        _piu.Condition.__init__(self, RLock() if lock is None else lock)

    @property
    def _sleeping_count(self):
        return _Count(self._waiting)

    @property
    def _woken_count(self):
        return _Count(int)

    _wait_semaphore = _woken_count

    def wait_for(self, predicate, timeout=None):
        deadline = None if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def __repr__(self):
        return f'<{type(self).__name__}({self._lock}, {self._waiting()})>'


class Event(_piu.Event, stock.Event):

    def __init__(self, *, ctx=None):
        pass

    def __repr__(self):
        state = 'set' if self.is_set() else 'unset'
        return f'<{type(self).__qualname__} at {id(self):#x} {state}>'


class Barrier(_piu.Barrier, stock.Barrier):

    def __init__(self, parties, action=None, timeout=None, *, ctx=None):
        _piu.Barrier.__init__(self, parties)
        self._action, self._timeout = action, timeout

    def wait(self, timeout=None):
        return _piu.Barrier.wait(self, self._timeout if timeout is None else timeout, self._action)

    abort = _piu.Barrier.abort
    reset = _piu.Barrier.reset
    parties = _piu.Barrier.parties
    n_waiting = _piu.Barrier.n_waiting
    broken = _piu.Barrier.broken

    def __reduce__(self):
        rebuild, (family, cls, handle, _) = _piu.Barrier.__reduce__(self)
        return rebuild, (family, cls, handle, (self._action, self._timeout))

    @classmethod
    def _from_handle(cls, handle, extra):
        self = super()._from_handle(handle, None)
        self._action, self._timeout = extra
        return self
