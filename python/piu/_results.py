"""Results: the stdlib's classes, filled by the engine of a Pool."""

import contextlib
import threading
import time
from collections import deque

from . import _piu
from ._light import pool as stock, traceback

AHEAD = 1024  # unfinished tasks of an imap whose input is a generator


class _Waits:
    """wait() and the end: the engine waits, and a callback is called by the helper."""

    @property
    def _eager(self):
        return bool(self._callback or self._error_callback)

    def wait(self, timeout=None):
        if not self._event.is_set():
            self._engine.wait(self._event, timeout, self)

    def _end(self):
        if self._callback if self._success else self._error_callback:
            self._engine.later(self, self._call)
        else:
            self._cancelled()

    _called = False

    def _call(self):
        if self._called:  # Ctrl-C came while it was noted, which is done again
            return
        self._called = True
        try:
            (self._callback if self._success else self._error_callback)(self._value)
        except Exception:
            traceback.print_exc()
        finally:
            self._cancelled()

    def _cancelled(self):
        self._event.set()
        self._cache.pop(self._job, None)
        self._pool = None

    def _fail(self, error):
        self._success, self._value = False, error
        self._cancelled()


class _Done:
    """An event on which nobody sleeps: to make a threading.Event takes as long as the rest of
    apply_async(), and Ctrl-C in its set() would leave its lock held."""

    __slots__ = '_engine', '_done'

    def __init__(self, engine):
        self._engine, self._done = engine, False

    def is_set(self):
        return self._done

    def set(self):
        self._done = True

    def wait(self, timeout=None):
        self._engine.wait(self, timeout)
        return self._done


class ApplyResult(_Waits, stock.ApplyResult):

    def __init__(self, pool, callback, error_callback):  # as the stdlib's, but for the event
        self._engine, self._pool, self._cache = pool._engine, pool, pool._cache
        self._callback, self._error_callback = callback, error_callback
        self._event = _Done(pool._engine)
        self._job = next(stock.job_counter)
        self._cache[self._job] = self

    def _set(self, i, obj):
        self._success, self._value = obj
        self._end()


class MapResult(_Waits, stock.MapResult):
    """Of `items`, a list: its chunks are tasks."""

    _chunks = None

    def __init__(self, pool, chunksize, items, callback, error_callback):
        self._engine, self._items = pool._engine, items
        super().__init__(pool, chunksize, len(items), callback, error_callback)
        event, self._event = self._event, _Done(pool._engine)
        if event.is_set():  # there are no items
            self._event.set()

    @property
    def _number_left(self):
        return self._chunks.left if self._chunks is not None else 0

    @_number_left.setter
    def _number_left(self, value):
        pass  # what the stdlib's class would count

    def _begin(self, first, kind, function):
        """Its tasks have the numbers from `first` on."""
        self._kind, self._function = kind, function
        self._chunks = _piu.Chunks(first, self._chunksize, self._value)

    def _task(self, i):
        chunk = self._items[i * self._chunksize:(i + 1) * self._chunksize]
        return self._kind, self._function, tuple(chunk), {}

    def _set(self, i, obj):
        success, value = obj
        if success:
            left = self._chunks.store(i, value)
        else:
            if self._success:  # first: after Ctrl-C, a chunk that was skipped is not found again
                self._success, self._value = False, value
            left = self._chunks.skip(i)
        if left == 0:
            self._complete()

    def _complete(self):
        self._end()
        self._engine.forget(self)  # last: after Ctrl-C it is found again

    def _cancelled(self):
        self._items = None
        super()._cancelled()


class _Iterates:
    """Filled by the helper alone, which gets no signals: its steps cannot be cut off.  Without the
    stdlib's Condition: Ctrl-C in its Python would leave its lock held, and the helper waiting."""

    _eager = True
    _failed = False

    def __init__(self, pool):
        self._room = threading.Semaphore(AHEAD)
        self._turns = []  # locks, each released to wake the thread that waits for it
        self._engine = pool._engine
        super().__init__(pool)

    def next(self, timeout=None):
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            over = self._is_over()  # first: then what is there is all
            try:
                success, value = self._items.popleft()
            except IndexError:
                if over:
                    raise StopIteration from None
            else:
                if success:
                    return value
                raise value
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise stock.TimeoutError
            if self._engine.is_mine():  # a callback, or a result's class: nobody else leads
                self._engine.wait(_News(self), left, self)
            else:
                self._await_turn(-1 if left is None else min(left, threading.TIMEOUT_MAX))

    __next__ = next

    def _await_turn(self, left):
        turn = threading.Lock()
        turn.acquire()
        self._turns.append(turn)
        try:
            if not self._items and not self._is_over():
                turn.acquire(True, left)
        finally:
            with contextlib.suppress(ValueError):  # it was told
                self._turns.remove(turn)

    def _is_over(self):
        return self._failed or self._index == self._length

    def _tell(self):
        if self._is_over():
            self._cache.pop(self._job, None)
            self._pool = None
        with contextlib.suppress(IndexError):  # in one step: another thread may tell them too
            while self._turns:
                self._turns.pop().release()

    def _set(self, i, obj):
        self._room.release()
        self._put(i, obj)
        self._tell()

    def _set_length(self, length):
        self._length = length
        self._tell()

    def _fail(self, error):
        self._items.append((False, error))
        self._failed = True
        self._tell()
        self._room.release()


class _News:
    """Like an event: next() has something to give."""

    def __init__(self, result):
        self._result = result

    def is_set(self):
        return bool(self._result._items) or self._result._is_over()


class IMapIterator(_Iterates, stock.IMapIterator):

    def _put(self, i, obj):
        self._unsorted[i] = obj
        while self._index in self._unsorted:
            self._items.append(self._unsorted.pop(self._index))
            self._index += 1


class IMapUnorderedIterator(_Iterates, stock.IMapUnorderedIterator):

    def _put(self, i, obj):
        self._items.append(obj)
        self._index += 1


class ChunkedIterator:
    """The items of an imap in chunks.  A chunk that failed raises once; then come the others."""

    def __init__(self, chunks):
        self._chunks, self._items = chunks, deque()

    def __iter__(self):
        return self

    def next(self, timeout=None):
        while True:
            try:
                return self._items.popleft()  # in one step: several threads may take
            except IndexError:
                pass
            self._items.extend(self._chunks.next(timeout))

    __next__ = next
