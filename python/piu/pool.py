"""Pool: the stdlib's class, with another engine; see docs/design/python-pool.md.

Workers help themselves from shared memory (_piu.Tasks).  Whoever waits collects the results and
looks after the workers; a helper thread does so from the first *_async or imap call on.
"""

import contextlib
import functools
import itertools
import os
import pickle
import signal
import threading
import time
import traceback
from multiprocessing import connection, pool as stock, process, util
from multiprocessing.pool import (  # noqa: F401: the same objects, under this name too
    CLOSE, INIT, RUN, TERMINATE, ExceptionWithTraceback, MaybeEncodingError, RemoteTraceback, ThreadPool, mapstar,
    starmapstar)
from multiprocessing.reduction import ForkingPickler

from . import _life, _piu

__all__ = ['Pool', 'ThreadPool']

LOOK = 0.05  # seconds between two looks at the workers
LOOK_LEAVING = 0.001  # the same, while one is about to end by its own will
KILL_AFTER = 5.0  # seconds that a worker has to end after SIGTERM
INTERRUPTED = 128 + signal.SIGINT  # exit code of a worker after Ctrl-C, as shells have it
AHEAD = 1024  # unfinished tasks of an imap whose input is a generator

# ---- In a worker ----------------------------------------------------------------------------


def worker(tasks, slot, initializer, initargs, maxtasks, wrap, mask):
    """Until there are no more tasks, or `maxtasks` are done."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # the helper, which may have forked it, has none
    _life.begin_worker()
    try:
        if initializer is not None:
            initializer(*initargs)
        for _ in itertools.count() if maxtasks is None else range(maxtasks):
            task = tasks.take(slot)
            if task is None:
                break
            tasks.finish(slot, task[0], run(task[1], wrap))
            task = None
    except KeyboardInterrupt:  # Ctrl-C is for the whole terminal: the pool's process tells of it
        raise SystemExit(INTERRUPTED) from None


def run(body, wrap):
    """The pickled (True, result) or (False, exception)."""
    function = None
    try:
        function, args, kwds = pickle.loads(body)
        result = True, function(*args, **kwds)
    except Exception as e:
        if wrap and function is not stock._helper_reraises_exception:
            e = ExceptionWithTraceback(e, e.__traceback__)
        result = False, e
    try:
        return ForkingPickler.dumps(result)
    except Exception as e:
        return ForkingPickler.dumps((False, MaybeEncodingError(e, result[1])))


# ---- Results ----------------------------------------------------------------------------------


class _Waits:
    """wait() and end of results: the engine waits for them, and a callback may raise."""

    def wait(self, timeout=None):
        if not self._event.is_set():
            self._engine.wait(self._event, timeout)

    def _end(self):
        if self._callback if self._success else self._error_callback:
            self._engine.calls.append(self)
        else:
            self._cancelled()

    def _call(self):
        """Its message is out of the inbox: the callback may call the pool."""
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


class AsyncResult(_Waits, stock.ApplyResult):

    def __init__(self, pool, callback, error_callback):
        self._engine = pool._engine
        super().__init__(pool, callback, error_callback)

    def _set(self, i, obj):
        self._success, self._value = obj
        self._end()


ApplyResult = AsyncResult


class MapResult(_Waits, stock.MapResult):

    def __init__(self, pool, chunksize, length, callback, error_callback):
        self._engine = pool._engine
        super().__init__(pool, chunksize, length, callback, error_callback)
        self._seen, self._chunks = set(), self._number_left

    def _set(self, i, obj):
        success, result = obj
        if success and self._success:
            self._value[i * self._chunksize:(i + 1) * self._chunksize] = result
        elif not success and self._success:
            self._success, self._value = False, result
        self._seen.add(i)
        self._number_left = self._chunks - len(self._seen)
        if self._number_left == 0:
            self._end()


class _Iterates:

    def _fail(self, error):
        with self._cond:
            self._items.append((False, error))
            self._length = self._index = self._index + 1
            self._unsorted.clear()
            self._cache.pop(self._job, None)
            self._cond.notify_all()
            self._pool = None


class IMapIterator(_Iterates, stock.IMapIterator):
    pass


class IMapUnorderedIterator(_Iterates, stock.IMapUnorderedIterator):
    pass


# ---- The engine ---------------------------------------------------------------------------------


class _Engine:
    """Workers, pending tasks, and who looks after them.  Knows no Pool, which may be collected."""

    def __init__(self, make, processes, maxtasks):
        self.make, self.processes, self.maxtasks = make, processes, maxtasks
        self.tasks = _piu.Tasks(processes)
        self.workers, self.cache, self.pending = [], {}, {}
        self.numbers = itertools.count(1)
        self.inbox = []  # collected, not settled
        self.calls = []  # results whose callback is to be called
        self.starting = threading.Lock()
        self.lead = threading.RLock()  # collect, settle, look
        self.helper, self.pid = None, os.getpid()
        self.ending = self.stopped = False
        self.error = None  # why there are no workers any more
        self.failures, self.next_look = 0, 0.0

    # -- submission

    def submit(self, result, i, function, args, kwds):
        number = next(self.numbers)
        self.pending[number] = result, i, (function, args, kwds)
        try:
            self.tasks.submit(number, ForkingPickler.dumps((function, args, kwds)))
        except Exception as e:
            with self.lead:
                self.end_task(number, (False, e))
                self.call()
        if self.error is not None:  # it broke meanwhile
            self.fail_all(self.error)

    def start_helper(self):
        with self.starting:
            if self.helper is not None:
                return
            self.helper = threading.Thread(target=self.help, daemon=True,
                                           name='piu pool helper')
            before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
            try:
                self.helper.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    # -- waiting

    def check_process(self):
        if os.getpid() != self.pid:
            raise RuntimeError(f'this pool belongs to process {self.pid}: it cannot be used in '
                               f'its child {os.getpid()}')

    def wait(self, event, timeout=None):
        self.check_process()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not event.is_set():
            left = LOOK if deadline is None else min(LOOK, deadline - time.monotonic())
            if left <= 0:
                break
            leads = self.helper in (None, threading.current_thread()) and not self.stopped
            if leads and self.lead.acquire(False):
                try:
                    self.step(left)
                finally:
                    self.lead.release()
            else:
                event.wait(left)

    def help(self):
        while not self.stopped and not (self.ending and not self.cache):
            with self.lead:
                try:
                    self.step(LOOK)
                except Exception:
                    traceback.print_exc()
        if not self.stopped:
            self.tasks.shutdown()

    def step(self, timeout):
        """`lead` is held."""
        if not self.inbox:
            leaving = any(w._piu_left == 0 for w in self.workers)
            self.tasks.collect(self.inbox, min(timeout, LOOK_LEAVING if leaving else LOOK))
        self.settle()
        if time.monotonic() >= self.next_look:
            self.look()
        self.call()

    def call(self):
        while self.calls:
            self.calls.pop(0)._call()

    # -- results

    def settle(self):
        """A message stays in the inbox until it is settled: Ctrl-C may come at any place."""
        while self.inbox:
            number, kind, slot, body = self.inbox[0]
            if kind == _piu.TASK_AGAIN:
                self.again(number)
            else:
                self.done(number, slot, body)
            self.inbox[:1] = ()

    def done(self, number, slot, body):
        self.failures = 0
        task = self.pending.get(number)
        if task is None:
            return
        try:
            obj = pickle.loads(body)
        except Exception as e:
            obj = False, MaybeEncodingError(e, f'what {task[2][0]!r} returned or raised')
        self.end_task(number, obj)
        for w in self.workers:
            if w._piu_slot == slot and w._piu_left is not None:
                w._piu_left -= 1
                self.next_look = 0.0 if w._piu_left == 0 else self.next_look

    def end_task(self, number, obj):
        result, i, _ = self.pending[number]
        if result._job in self.cache:
            result._set(i, obj)
        self.pending.pop(number, None)

    def again(self, number):
        """Its worker died: what a record names it had begun, which is seen to when it is reaped."""
        task = self.pending.get(number)
        if task is None or any(self.tasks.started(w._piu_slot) == number
                               for w in self.workers):
            return
        new = next(self.numbers)  # the old number may be told again
        self.pending[new] = task
        del self.pending[number]
        self.tasks.submit(new, ForkingPickler.dumps(task[2]))

    # -- workers

    def look(self):
        self.next_look = time.monotonic() + LOOK
        ended = connection.wait([w.sentinel for w in self.workers], 0)
        for w in [w for w in self.workers if w.sentinel in ended]:
            w.join()
            self.bury(w)
        leaving = any(w._piu_left == 0 for w in self.workers)
        if leaving:
            self.next_look = time.monotonic() + LOOK_LEAVING
        if not self.stopped and not (self.ending and not self.cache) and self.error is None:
            self.refill()

    def bury(self, w):
        while self.tasks.collect(self.inbox, 0):
            pass
        self.settle()  # what it had finished is in
        number = self.tasks.started(w._piu_slot)
        if number in self.pending:
            self.end_task(number, (False, lost(w, self.pending[number])))
        elif w._piu_left != 0 and not self.ending:
            self.failures += 1
        self.tasks.clear(w._piu_slot)
        self.workers.remove(w)
        if self.failures > max(3, self.processes):
            self.breaks(RuntimeError(
                f'pool is broken: {self.failures} workers ended one after the other without '
                f'having done a task, the last one {how_ended(w)}; does the initializer fail?'))

    def refill(self, at_first=False):
        used = {w._piu_slot for w in self.workers}
        for slot in range(self.processes):
            if slot not in used and len(self.workers) < self.processes:
                w = self.make(self.tasks, slot)
                w._piu_slot, w._piu_left = slot, self.maxtasks
                w.name = w.name.replace('Process', 'PoolWorker')
                w.daemon = True
                try:
                    w.start()
                except OSError as e:
                    if at_first:
                        raise
                    if not self.workers:
                        self.breaks(e)
                    return  # again at the next look
                self.workers.append(w)

    def breaks(self, error):
        self.error = error
        self.fail_all(error)

    def fail_all(self, error):
        for result in list(self.cache.values()):
            result._fail(error)
        self.pending.clear()

    # -- the end

    def close(self):
        self.ending = True

    def join(self):
        self.check_process()
        while self.cache and not self.stopped:
            result = next(iter(list(self.cache.values())), None)
            if result is not None:
                self.wait(getattr(result, '_event', None) or threading.Event(), LOOK)
        if self.helper not in (None, threading.current_thread()):
            self.helper.join()
        if not self.stopped:
            self.tasks.shutdown()
        for w in self.workers:
            w.join()

    def terminate(self):
        if os.getpid() != self.pid:
            return
        self.ending = self.stopped = True
        held = self.lead.acquire(timeout=1)  # the helper may be in a callback that goes on
        try:
            for w in self.workers:
                if w.exitcode is None:
                    w.terminate()
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(w.pid, signal.SIGCONT)  # a stopped one ends only then
            deadline = time.monotonic() + KILL_AFTER
            for w in self.workers:
                sentinel = getattr(w, 'sentinel', None)  # a user's class may have none
                left = max(0, deadline - time.monotonic())
                if sentinel is not None and not connection.wait([sentinel], left):
                    w.kill()
                w.join()
            self.fail_all(RuntimeError('the pool was terminated before this was done'))
        finally:
            if held:
                self.lead.release()


def how_ended(w):
    if w.exitcode is not None and w.exitcode < 0:
        return f'was killed by {signal.Signals(-w.exitcode).name}'
    return f'ended with exit code {w.exitcode}'


def short(value, most=60):
    try:
        text = repr(value)
    except Exception:
        text = object.__repr__(value)
    return text if len(text) <= most else text[:most - 3] + '...'


def lost(w, task):
    """WorkerLost for the task that this worker had begun."""
    result, i, (function, args, kwds) = task
    if function in (mapstar, starmapstar):
        function, args = args[0]
    error = _piu.WorkerLost(
        f'task {result._job}.{i}, {getattr(function, "__qualname__", function)} of '
        f'{short(args)}{short(kwds) if kwds else ""}: its worker {w.name}, pid {w.pid}, '
        f'{how_ended(w)}')
    error.task, error.function, error.arguments = (result._job, i), function, short(args)
    error.pid, error.exitcode = w.pid, w.exitcode
    return error


# ---- Pool -----------------------------------------------------------------------------------------


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
            processes = len(os.sched_getaffinity(0))
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (
                not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError('initializer must be a callable')
        self._processes, self._maxtasksperchild = processes, maxtasksperchild
        self._initializer, self._initargs = initializer, initargs
        self._engine = engine = _Engine(
            functools.partial(_make_worker, self.Process, self._ctx, initializer, initargs,
                              maxtasksperchild, self._wrap_exception,
                              signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            processes, maxtasksperchild)
        self._pool, self._cache, self._taskqueue = engine.workers, engine.cache, engine.tasks
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
        return self._apply(func, args, kwds).get()

    def apply_async(self, func, args=(), kwds={}, callback=None, error_callback=None):
        self._check_running()
        self._engine.start_helper()
        return self._apply(func, args, kwds, callback, error_callback)

    def _apply(self, func, args, kwds, callback=None, error_callback=None):
        self._check_running()
        result = AsyncResult(self, callback, error_callback)
        self._engine.submit(result, 0, func, args, kwds)
        return result

    def map_async(self, func, iterable, chunksize=None, callback=None, error_callback=None):
        return self._map_async(func, iterable, mapstar, chunksize, callback, error_callback,
                               helped=True)

    def starmap_async(self, func, iterable, chunksize=None, callback=None,
                      error_callback=None):
        return self._map_async(func, iterable, starmapstar, chunksize, callback,
                               error_callback, helped=True)

    def _map_async(self, func, iterable, mapper, chunksize=None, callback=None,
                   error_callback=None, helped=False):
        self._check_running()
        if not hasattr(iterable, '__len__'):
            iterable = list(iterable)
        if chunksize is None:
            chunksize, extra = divmod(len(iterable), self._processes * 4)
            chunksize += bool(extra)
        if len(iterable) == 0:
            chunksize = 0
        if helped:
            self._engine.start_helper()
        result = MapResult(self, chunksize, len(iterable), callback, error_callback)
        if chunksize > 0:
            for i, chunk in enumerate(stock.Pool._get_tasks(func, iterable, chunksize)):
                self._engine.submit(result, i, mapper, (chunk,), {})
        return result

    def imap(self, func, iterable, chunksize=1):
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(self, func, iterable, chunksize=1):
        return self._imap(IMapUnorderedIterator, func, iterable, chunksize)

    def _imap(self, kind, func, iterable, chunksize):
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize!r}")
        self._engine.start_helper()
        result = kind(self)
        function, items = func, iterable
        if chunksize > 1:
            function, items = mapstar, stock.Pool._get_tasks(func, iterable, chunksize)
        generation = self._guarded_task_generation(result._job, function, items)
        if isinstance(iterable, (list, tuple, range)):
            _feed(self._engine, result, generation, False)
        else:
            threading.Thread(target=_feed, args=(self._engine, result, generation, True),
                             daemon=True, name='piu pool input').start()
        return result if chunksize == 1 else (item for chunk in result for item in chunk)

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


def _feed(engine, result, generation, bounded):
    """The input of an imap: it may block, be endless, or wait for earlier results."""
    i = -1
    for _, i, function, args, kwds in generation:
        while bounded and len(engine.pending) >= AHEAD and not engine.stopped:
            time.sleep(LOOK_LEAVING)
        if engine.stopped or result._job not in engine.cache:
            return
        engine.submit(result, i, function, args, kwds)
    if result._job in engine.cache:
        result._set_length(i + 1)
