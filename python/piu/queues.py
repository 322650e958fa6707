"""Queue, JoinableQueue, SimpleQueue.

What moves objects is C (piu._piu).  Each class is also one of the stdlib's of the same name, for
isinstance().  There is no feeder thread: put() has put when it returns.
"""

from multiprocessing import queues as stock
from queue import Empty, Full  # noqa: F401: as the stdlib's module has them

from . import _piu
from .synchronize import SEM_VALUE_MAX

__all__ = ['Queue', 'SimpleQueue', 'JoinableQueue']


class _End:
    """What others do with the connections of a stock queue.  Knows nothing itself."""

    def __init__(self, queue):
        self._queue = queue

    def __eq__(self, other):
        return type(other) is type(self) and other._queue is self._queue

    def __hash__(self):
        return hash((type(self), id(self._queue)))

    def fileno(self):
        """Readable while the queue has objects."""
        if self.closed:
            raise OSError('handle is closed')
        return self._queue._fileno()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Reader(_End):

    readable, writable = True, False

    @property
    def closed(self):
        return self._queue._reader_closed

    def close(self):
        self._queue._reader_closed = True

    def poll(self, timeout=0.0):
        if self.closed:
            raise OSError('handle is closed')
        return not self._queue._drained and self._queue._poll_for(timeout)

    def recv(self):
        return self._queue._recv()


class Writer(_End):

    readable, writable = False, True

    @property
    def closed(self):
        return self._queue._writer_closed

    def close(self):
        self._queue._writer_closed = True

    def send(self, obj):
        self._queue._send(obj)


class _Drain:
    """Stock Pool takes _rlock, for ever, to drain the queue for a thread that waits in put().
    No put waits for a getter here: nothing is to be drained."""

    def __init__(self, queue):
        self._queue = queue

    def acquire(self, block=True, timeout=None):
        self._queue._drained = True
        return True

    def release(self):
        self._queue._drained = False


class _Ends:

    _drained = False
    _rlock = property(_Drain)
    _reader = property(Reader)
    _writer = property(Writer)


class Queue(_Ends, _piu.Queue, stock.Queue):

    _ignore_epipe = False  # nothing raises it here

    def __init__(self, maxsize=0, *, ctx):
        self._make(maxsize, False)

    @property
    def _maxsize(self):
        return self._limit or SEM_VALUE_MAX

    def __getstate__(self):
        return self._ignore_epipe, self._limit, *self._state()

    def __setstate__(self, state):
        ignore_epipe, limit, _, handle = state
        if ignore_epipe:
            self._ignore_epipe = ignore_epipe
        self._take(limit, handle)

    def join_thread(self):
        assert self._closed, f'Queue {self!r} not closed'

    def cancel_join_thread(self):
        pass

    def _terminate_broken(self):
        self._reader.close()
        self.close()

    def _put_failed(self, error, obj):
        """put() could not pickle obj: raise, unless a subclass wants to know instead."""
        if self._on_queue_feeder_error is stock.Queue._on_queue_feeder_error:
            raise error
        self._on_queue_feeder_error(error, obj)


class JoinableQueue(_piu.JoinableQueue, Queue, stock.JoinableQueue):

    def __init__(self, maxsize=0, *, ctx):
        self._make(maxsize, True)


class SimpleQueue(_Ends, _piu.SimpleQueue, stock.SimpleQueue):

    def __init__(self, *, ctx):
        self._make(0, False)

    def _poll(self, timeout=0.0):
        return self._reader.poll(timeout)

    def __getstate__(self):
        return self._state()

    def __setstate__(self, state):
        self._take(0, state[1])
