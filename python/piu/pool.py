"""Pool: the stdlib's class, with another engine; see docs/design/python-pool.md.

Workers help themselves from shared memory (_piu.Tasks).  Whoever waits collects the results and
looks after the workers (_engine); a helper thread does so from the first *_async or imap call on.
"""

import functools
import operator
import signal
import sys
from multiprocessing import util

from ._light import pool as stock  # first: it imports multiprocessing.pool
from multiprocessing.pool import (  # noqa: F401: the same objects, under this name too
    CLOSE, INIT, RUN, TERMINATE, ExceptionWithTraceback, MaybeEncodingError, RemoteTraceback,
    ThreadPool, mapstar, starmapstar)

from . import _piu
from ._engine import Engine
from ._helper import quiet_thread, without_signals
from ._results import ApplyResult, ChunkedIterator, IMapIterator, IMapUnorderedIterator, MapResult
from ._worker import worker

__all__ = ['Pool', 'ThreadPool']

AsyncResult = ApplyResult
for _kind in ApplyResult, MapResult, IMapIterator, IMapUnorderedIterator:
    _kind.__module__ = __name__


def _make_worker(process, ctx, initializer, initargs, maxtasks, wrap, mask, tasks, slot):
    return process(ctx, target=worker,
                   args=(tasks, slot, initializer, initargs, maxtasks, wrap, mask))


class Pool(stock.Pool):

    def __init__(self, processes=None, initializer=None, initargs=(),
                 maxtasksperchild=None, context=None):
        self._pool, self._state = [], INIT
        if context is None:
            from .context import _default_context
            context = _default_context.get_context()
        self._ctx = context
        if processes is None:
            processes = _piu._cpu_count()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (
                not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError('initializer must be a callable')
        self._processes, self._maxtasksperchild = processes, maxtasksperchild
        self._initializer, self._initargs = initializer, initargs
        self._engine = engine = Engine(
            functools.partial(_make_worker, self.Process, self._ctx, initializer, initargs,
                              maxtasksperchild, self._wrap_exception,
                              signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            processes, maxtasksperchild)
        self._pool, self._cache, self._taskqueue = engine.workers.all, engine.cache, engine.tasks
        try:
            engine.refill(at_first=True)
        except BaseException:
            engine.terminate()
            raise
        self._terminate = util.Finalize(self, engine.terminate, exitpriority=15)
        self._state = RUN

    def _check_running(self):
        super()._check_running()
        self._engine.check_process()
        if self._engine.error is not None:
            raise self._engine.error

    def _repopulate_pool(self):
        with self._engine.lead:
            self._engine.look()

    def apply(self, func, args=(), kwds={}):
        self._check_running()
        return self._apply(func, args, kwds).get()

    def apply_async(self, func, args=(), kwds={}, callback=None, error_callback=None):
        self._check_running()
        self._engine.start_helper()
        return self._apply(func, args, kwds, callback, error_callback)

    def _apply(self, func, args, kwds, callback=None, error_callback=None):
        result = ApplyResult.__new__(ApplyResult)
        try:  # from here on: join() waits for it as soon as it is made
            result.__init__(self, callback, error_callback)
            self._engine.submit(result, 0, func, args, kwds)
        except BaseException:
            self._engine.drop(result)
            raise
        return result

    def map(self, func, iterable, chunksize=None):
        return self._map(func, iterable, _piu.TASK_MAP, chunksize).get()

    def map_async(self, func, iterable, chunksize=None, callback=None, error_callback=None):
        return self._map(func, iterable, _piu.TASK_MAP, chunksize, callback, error_callback,
                         helped=True)

    def starmap(self, func, iterable, chunksize=None):
        return self._map(func, iterable, _piu.TASK_STARMAP, chunksize).get()

    def starmap_async(self, func, iterable, chunksize=None, callback=None,
                      error_callback=None):
        return self._map(func, iterable, _piu.TASK_STARMAP, chunksize, callback, error_callback,
                         helped=True)

    def _map(self, func, iterable, kind, chunksize=None, callback=None, error_callback=None,
             helped=False):
        self._check_running()
        items = iterable if _is_short(iterable) else list(iterable)
        if chunksize is None:
            chunksize, extra = divmod(len(items), self._processes * 4)
            chunksize += bool(extra)
        chunksize = min(operator.index(chunksize), len(items))
        if helped:
            self._engine.start_helper()
        result = MapResult.__new__(MapResult)
        try:
            result.__init__(self, chunksize, items, callback, error_callback)
            if chunksize > 0:
                self._engine.submit_chunks(result, kind, func)
        except BaseException:
            self._engine.drop(result)
            raise
        return result

    def imap(self, func, iterable, chunksize=1):
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(self, func, iterable, chunksize=1):
        return self._imap(IMapUnorderedIterator, func, iterable, chunksize)

    def _imap(self, kind, func, iterable, chunksize):
        self._check_running()
        chunksize = min(operator.index(chunksize), sys.maxsize)
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize!r}")
        self._engine.start_helper()
        at_once = isinstance(iterable, (list, tuple, range))
        function, items = func, iterable if at_once else _raising_exceptions(iterable)
        if chunksize > 1:
            function, items = mapstar, stock.Pool._get_tasks(func, items, chunksize)
        result = kind.__new__(kind)
        try:
            result.__init__(self)
            generation = self._guarded_task_generation(result._job, function, items)
            if at_once:
                _feed(self._engine, result, generation, False)
            else:
                without_signals(quiet_thread(
                    _feed, (self._engine, result, generation, True), 'piu pool input').start)
        except BaseException:
            self._engine.drop(result)
            raise
        return result if chunksize == 1 else ChunkedIterator(result)

    def close(self):
        util.debug('closing pool')
        if self._state == RUN:
            self._state = CLOSE
            self._engine.close()

    def join(self):
        util.debug('joining pool')
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        self._engine.join()


def _is_short(iterable):
    """A range of ints of 64 bits: sent as such, its ints made where they are used."""
    return type(iterable) is range and (
        not iterable or max(abs(iterable[0]), abs(iterable[-1]), abs(iterable.step)) < 1 << 63)


def _raising_exceptions(iterable):
    """In the thread that reads it, a SystemExit would end that thread and be told to nobody."""
    try:
        yield from iterable
    except (Exception, GeneratorExit):
        raise
    except BaseException as e:
        raise RuntimeError(f'the input of imap raised {e!r}') from e


def _feed(engine, result, generation, bounded):
    """The input of an imap: it may block, be endless, or wait for earlier results."""
    i = -1
    for _, i, function, args, kwds in generation:
        if bounded:
            result._room.acquire()
        if engine.stopped or result._job not in engine.cache:
            return engine.fail_if_over()
        engine.submit(result, i, function, args, kwds)
    if result._job in engine.cache:
        result._set_length(i + 1)
