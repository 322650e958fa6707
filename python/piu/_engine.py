"""The engine of a Pool: the tasks that are pending, and who looks after them and the workers.

It knows no Pool, which may be collected.  `lead` is held by whoever collects: a thread that waits,
or the helper.  What is shared with the workers, and all work for each item, is _piu.Tasks.
"""

import contextlib
import os
import threading
import time
from collections import deque
from multiprocessing.reduction import ForkingPickler
from types import BuiltinFunctionType, FunctionType, ModuleType

from . import _piu
from ._helper import LOOK, helper
from ._failures import cannot_be_sent
from ._losses import called, lost, name_of
from ._results import _Iterates
from ._workers import Workers

TURN = 0.05  # seconds that a thread waits before it sees whether it can lead
AHEAD = 2  # chunks for each worker that are on the way, however large


def is_global(function):
    """Pickled by its name alone: workers need to unpickle it once only."""
    kind = type(function)
    return kind is FunctionType or kind is type or (
        kind is BuiltinFunctionType and isinstance(function.__self__, ModuleType))


def is_main():
    return threading.current_thread() is threading.main_thread()


class Engine:

    def __init__(self, make, processes, maxtasks):
        self.tasks = _piu.Tasks(processes)
        self.workers = Workers(self.tasks, make, processes, maxtasks)
        self.cache = {}  # results that are awaited, by their _job
        self.pending = {}  # by number: (result, i, task)
        self.moved = set()  # numbers of tasks that were submitted anew, and have others now
        self.maps, self.jobs = {}, []  # MapResults by the number of their first task; their Chunks
        self.fed = []  # MapResults of which chunks are still to be given; the leader's
        self.ahead = AHEAD * processes
        self.last_function = None, b''
        self.number, self.numbering = 1, threading.Lock()
        self.inbox = []  # collected, not settled
        self.calls = deque()  # (result, call), for the helper
        self.callers = {}  # threads that are in them: what each waits for there, the innermost last
        self.lead = threading.RLock()
        self.followers = []  # locks, each released to wake the thread that waits for it
        self.pid, self.rested, self.helped = os.getpid(), False, False
        self.ending = self.stopped = False
        self.error = None  # why there are no workers any more

    # -- submission

    def take_numbers(self, count):
        with self.numbering:
            first = self.number
            self.number += count
        return first

    def function_bytes(self, function):
        known, data = self.last_function
        if known is not function:
            data = bytes(ForkingPickler.dumps(function))
            self.last_function = function, data
        return data

    def send(self, number, task, *moved):
        kind, function, args, kwds = task
        if kwds or not is_global(function):
            self.tasks.submit(number, kind | _piu.TASK_WHOLE, b'', (function, args, kwds), *moved)
        else:
            self.tasks.submit(number, kind, self.function_bytes(function), args, *moved)

    def submit(self, result, i, function, args, kwds):
        number = self.take_numbers(1)
        task = self.pending[number] = result, i, (_piu.TASK_CALL, function, args, kwds)
        try:
            if type(args) is not tuple or type(kwds) is not dict:
                task = self.pending[number] = result, i, (
                    _piu.TASK_CALL, function, tuple(args), {**kwds})
            self.send(number, task[2])
        except BaseException as e:
            if not isinstance(e, Exception) and is_main():  # perhaps a signal's
                raise
            self.refuse(number, e)
        self.submitted(result._eager)

    def submit_chunks(self, result, kind, function):
        first = self.take_numbers(-(-len(result._items) // result._chunksize))
        result._begin(first, kind, function)
        self.maps[first] = result
        self.jobs.append(result._chunks)
        try:
            result._sent = (kind, self.function_bytes(function), None) if is_global(function) else (
                kind | _piu.TASK_WHOLE, b'', function)
        except Exception as e:
            for i in range(result._chunks.left):
                self.refuse(first + i, e)
        else:
            if self.feed(result):
                self.fed.append(result)
                self.tasks.ring()  # who leads may have nothing more to wait for
        self.submitted(result._eager)

    def feed(self, result):
        """Chunks, as many as shall be on the way.  True: there are more."""
        chunks, items = result._chunks, result._items
        if items is None:
            return False  # it is over
        kind, data, whole = result._sent
        while refused := self.tasks.submit_chunks(chunks, kind, data, items, whole, self.ahead):
            self.refuse(chunks.first + refused[0], refused[1])
        return chunks.given < chunks.count

    def refuse(self, number, error):
        """Whoever leads settles it: to wait for that one may last, as it may be in a callback."""
        self.inbox.append((number, _piu.FAILED, None, error))
        self.tasks.ring()
        if self.helped:
            helper.wake()

    def submitted(self, eager):
        """eager: what is to be done with the result cannot wait for its caller."""
        self.fail_if_over()
        if self.helped:
            if not eager:
                helper.note()
            elif self.arm():
                helper.wake()

    def fail_if_over(self):
        """What came in after the pool broke or was terminated: nobody else tells it."""
        if self.error is not None:
            self.fail_all(self.error)

    def start_helper(self):
        if not self.helped or not helper.is_alive():
            self.helped = helper.add(self)

    # -- waiting

    def check_process(self):
        if os.getpid() != self.pid:
            raise RuntimeError(f'this pool belongs to process {self.pid}: it cannot be used in '
                               f'its child {os.getpid()}')

    def is_mine(self):
        """Nobody else can lead while this thread waits."""
        return helper.is_current() or self.lead._is_owned()

    def wait(self, event, timeout=None, result=None):
        """result: whose event it is."""
        self.check_process()
        deadline = None if timeout is None else time.monotonic() + timeout
        led = self.lead._is_owned()  # a callback waits
        awaited = self.callers.get(threading.get_ident(), [])
        depth = len(awaited)
        try:
            awaited.append(result)
            while not event.is_set():
                left = LOOK if deadline is None else min(deadline - time.monotonic(), LOOK)
                if not left > 0:  # passed, or not a number
                    break
                if not self.stopped and self.lead.acquire(False):
                    self.lead_until(event, left)
                else:
                    self.follow(event, min(left, TURN))
                    if helper.is_current():  # in a callback: the leader leaves it the others
                        self.run_calls()
        finally:
            del awaited[depth:]
            if not led and self.lead._is_owned():  # Ctrl-C came before lead_until() could see to it
                self.lead.release()
                self.pass_on()

    def lead_until(self, event, left):
        try:
            self.tasks.lead()
            end = time.monotonic() + left
            while not event.is_set() and not self.stopped and left > 0:
                self.step(left)
                left = end - time.monotonic() if not event.is_set() else 0
        finally:
            self.lead.release()
            self.pass_on()

    def follow(self, event, left):
        """Until the leader has settled something, or there is none any more."""
        turn = threading.Lock()  # not a Condition: Ctrl-C in its Python would leave its lock held
        turn.acquire()
        self.followers.append(turn)
        try:
            if not event.is_set():
                turn.acquire(True, left)
        finally:
            with contextlib.suppress(ValueError):  # it was told
                self.followers.remove(turn)

    def pass_on(self):
        """The caller has led."""
        if self.followers:
            self.tell_followers()
        if self.rested:
            helper.resume(self)
        elif self.helped and (self.calls or self.arm()):
            helper.wake()

    def tell_followers(self):
        with contextlib.suppress(IndexError):  # in one step: another thread may tell them too
            while self.followers:
                self.followers.pop().release()

    def arm(self):
        """Workers tell from now on.  True: there is something already."""
        return bool(self.cache) and not self.rested and not self.stopped and self.tasks.arm()

    def serve(self):
        """By the helper: what there is to do.  False: there will be no more."""
        self.run_calls()
        if self.lead.acquire(False):
            try:
                if self.rested:  # who led left just before the helper began to rest
                    helper.resume(self)
                self.step(0)
            finally:
                self.lead.release()
            self.run_calls()
            if self.followers:
                self.tell_followers()
        else:
            helper.rest(self)
        if self.ending and not self.cache and not self.stopped:
            self.tasks.shutdown()
            return False
        return not self.stopped

    def step(self, timeout):
        """`lead` is held."""
        if self.fed:
            for result in list(self.fed):
                if not self.feed(result):
                    self.stop_feeding(result)
        if not self.inbox and not self.tasks.collect(self.jobs, self.inbox, timeout > 0):
            if self.tasks.sleep(min(timeout, self.workers.next_look - time.monotonic())) or (
                    time.monotonic() >= self.workers.next_look):
                self.look()
        self.settle()
        self.run_calls()

    def later(self, result, call):
        """A callback, or what else must not be cut off: the helper's."""
        self.calls.append((result, call))

    def run_calls(self):
        if not self.calls:
            return
        if self.helped and helper.is_alive() and not helper.is_current():
            return helper.wake()
        run = helper.call if helper.is_current() else lambda call: call()
        me = threading.get_ident()
        if me in self.callers:  # what it waits for alone, or a thousand lie one in the other
            for entry in [entry for entry in list(self.calls) if entry[0] in self.callers[me][-1:]]:
                self.calls.remove(entry)
                run(entry[1])
        else:
            self.callers[me] = []
            try:
                while self.calls:
                    run(self.calls.popleft()[1])
            finally:
                del self.callers[me]
        self.tasks.ring()
        if self.followers:
            self.tell_followers()

    # -- results

    def settle(self):
        """An entry stays in the inbox until it is settled: Ctrl-C may come at any place."""
        while first := self.inbox[:1]:
            error = None
            try:
                self.settle_one(*first[0])
            except Exception as e:
                error = self.settle_again(e, *first[0])
            # a signal's handler may have waited, and settled it; then that is another's, or none
            if self.inbox and self.inbox[0] is first[0]:
                del self.inbox[:1]
            if error is not None:
                raise error
        if self.followers:
            self.tell_followers()

    def settle_one(self, number, kind, slot, value):
        if number == 0:
            self.workers.unbegun = value
            return
        if slot is not None:  # a worker's
            self.workers.did_a_task()
        if kind == _piu.AGAIN:
            self.again(number)
        elif kind == _piu.COMPLETE:
            for result in [r for r in list(self.maps.values()) if r._chunks is value]:
                result._complete()
        else:
            if kind == _piu.BROKEN:
                value = self.broken(number, value)
            self.end_task(number, (kind == _piu.DONE, value))

    def settle_again(self, error, number, *entry):
        """The error, if a signal's handler has raised it; else it is the task's: not raised
        again and again, by whoever waits for others."""
        try:
            self.settle_one(number, *entry)
        except Exception as e:
            self.end_task(number, (False, e))
            return None
        return error

    def find(self, number):
        """(result, i) of a pending task; None."""
        if number in self.moved:
            return None
        task = self.pending.get(number)
        if task is not None:
            return task[:2]
        for result in list(self.maps.values()):
            i = result._chunks.find(number)
            if i is not None:
                return result, i
        return None

    def task_of(self, number, result, i):
        return self.pending[number][2] if number in self.pending else result._task(i)

    def broken(self, number, error):
        found = self.find(number)
        function = called(self.task_of(number, *found))[0] if found else None
        return cannot_be_sent(error, f'what {name_of(function)} returned or raised')

    def end_task(self, number, obj):
        found = self.find(number)
        if found is None:
            for result in list(self.maps.values()):
                if result._chunks.left == 0:  # Ctrl-C came between its last chunk and its end
                    result._complete()
            return
        result, i = found
        if result._job in self.cache:
            if isinstance(result, _Iterates):
                return self.later(result, lambda: self.iterate(number, obj))
            result._set(i, obj)
        self.pending.pop(number, None)

    def iterate(self, number, obj):
        """By the helper; once, though Ctrl-C may have had it noted twice."""
        task = self.pending.pop(number, None)
        if task is not None and task[0]._job in self.cache:
            task[0]._set(task[1], obj)

    def again(self, number):
        """Its worker died: what a seat names it had begun, which is seen to when it is reaped."""
        found = self.find(number)
        if found is None or self.workers.has_begun(number):
            return
        task = self.task_of(number, *found)
        new = self.take_numbers(1)  # the old number may be told again
        self.pending[new] = *found, task
        try:
            self.send(new, task, self.moved, number)
        except BaseException as e:
            if not isinstance(e, Exception) and is_main():  # perhaps a signal's
                raise
            self.end_task(number, (False, e))
        finally:
            self.pending.pop(number if number in self.moved else new, None)

    def drop(self, result):
        """Its submission was cut off: what is in of it is done for nobody."""
        self.cache.pop(getattr(result, '_job', None), None)
        self.stop_feeding(result)
        if result in list(self.maps.values()):
            self.forget(result)
        for number in [n for n, task in list(self.pending.items()) if task[0] is result]:
            self.pending.pop(number, None)

    def stop_feeding(self, result):
        with contextlib.suppress(ValueError):  # in one step: another thread may append
            self.fed.remove(result)

    def forget(self, result):
        """All tasks of this map have ended."""
        if self.maps.pop(result._chunks.first, None) is not None:
            with contextlib.suppress(ValueError):
                self.jobs.remove(result._chunks)

    # -- workers

    def look(self):
        if self.ending and not self.cache:
            return self.workers.look_later()  # they end as they should: join() is for that
        for w in self.workers.ended():
            self.bury(w)
        if not self.stopped and not (self.ending and not self.cache) and self.error is None:
            self.refill()

    def bury(self, w):
        while self.tasks.collect(self.jobs, self.inbox, False):
            pass
        self.settle()  # what it had finished is in
        number = self.tasks.started(w._piu_slot)
        found = self.find(number)
        if found is not None:
            task = self.task_of(number, *found)
            self.end_task(number, (False, lost(w, *found, task, self.workers.was_oom(w))))
        elif error := self.workers.died_idle(w):
            self.breaks(error)
        self.workers.remove(w)

    def refill(self, at_first=False):
        try:
            self.workers.refill()
        except OSError as e:
            if at_first:
                raise
            if not self.workers.all:
                e.add_note('The pool has no workers left, and could not start another.')
                self.breaks(e)

    def breaks(self, error):
        self.error = error
        self.fail_all(error)

    def fail_all(self, error):
        for result in list(self.cache.values()):
            result._fail(error)
        self.pending.clear()
        self.fed.clear()
        self.maps.clear()
        self.jobs.clear()
        self.tasks.ring()
        self.tell_followers()

    # -- the end

    def close(self):
        self.ending = True
        if self.helped:
            helper.wake()

    def join(self):
        self.check_process()
        # it would wait for the callback that it is in
        if helper.is_current() or threading.get_ident() in self.callers:
            raise RuntimeError('a callback cannot join a pool: it would wait for itself')
        while self.cache and not self.stopped:
            result = next(iter(list(self.cache.values())), None)
            if result is not None:
                self.wait(getattr(result, '_event', None) or _Ended(self), LOOK)
        if not self.stopped:
            self.tasks.shutdown()
        helper.remove(self)
        for w in self.workers.all:
            w.join()

    def terminate(self):
        if os.getpid() != self.pid:
            return
        self.ending = self.stopped = True
        held = False
        try:
            helper.remove(self)
            held = self.lead.acquire(timeout=1)  # its leader may be in a callback that goes on
            self.workers.terminate()
        except BaseException:  # Ctrl-C: nobody else ends those that SIGTERM does not
            self.workers.kill()
            raise
        finally:  # then, too: there is no second terminate()
            self.breaks(self.error or RuntimeError('the pool was terminated before this was done'))
            if held:
                self.lead.release()


class _Ended:
    """For join(): like an event, of a result that has none."""

    def __init__(self, engine):
        self.engine = engine

    def is_set(self):
        return not self.engine.cache
