"""Pool: the stdlib's results, and an end to each task whatever happens to its worker."""

import collections
import errno
import functools
import gc
import os
import pickle
import queue
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import types
import unittest
from multiprocessing import connection, pool as stock
from unittest import mock

import children
import piu
import piu.pool
from piu import _piu


def square(x):
    return x * x


def read_all_lists(x):
    for one in gc.get_objects():
        if type(one) is list:
            for _ in one:
                pass
    return x


def die(x=None):
    children.die()


def end_if_3(x):
    if x == 3:
        children.die()
    return x


def exit_by(how):
    if how == 'os._exit':
        os._exit(5)
    if how == 'sys.exit':
        sys.exit(5)
    os.execv('/bin/true', ['true'])


def fail(*_):
    raise KeyError('of the task')


def fail_first_in(place):
    path = os.path.join(place, 'failed')
    if not os.path.exists(path):
        open(path, 'x').close()
        fail()


class RaisesAsArgument:
    def __init__(self, kind):
        self.kind = kind

    def __reduce__(self):
        raise self.kind('as an argument')


class ExitsAsResult:
    def __reduce__(self):
        return sys.exit, ('as a result',)


def give_what_exits(x):
    return ExitsAsResult() if x == 1 else x


def list_in_lists(depth):
    result = []
    for _ in range(depth):
        result = [result]
    return result


def fork_and_both_return(x):
    if x % 10 == 0 and os.fork() == 0:
        return -1
    return x


def ignore_sigterm(done):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    done.release()


def close_all(x):
    os.closerange(3, 256)
    return x


class TwoArguments(Exception):
    def __init__(self, a, b):
        super().__init__(a)


def raise_what_cannot_be_unpickled():
    raise TwoArguments('the first', 2)


def raise_what_cannot_be_pickled():
    raise ValueError('a lambda is in it', lambda: 1)


def raise_with(*args):
    raise ValueError(*args)


def give_what_cannot_be_pickled():
    return lambda: 1


class NoRepr(Exception):
    def __repr__(self):
        raise RuntimeError('no repr')

    __str__ = __repr__


def raise_no_repr():
    raise NoRepr


class Unpicklable:
    def __reduce__(self):
        return raise_no_repr, ()


def give_what_raises_no_repr():
    return Unpicklable()


class DiesWithoutRepr:
    def __call__(self):
        children.die()

    __repr__ = NoRepr.__repr__


class Nameless:
    def __call__(self, function):
        return function()

    def __getattr__(self, name):
        if name == '__qualname__':
            raise RuntimeError('no name')
        raise AttributeError(name)


def kill_self(number):
    os.kill(os.getpid(), number)
    signal.pause()


def pid_of(_=None):
    return os.getpid()


def exit_by_handler(*_):
    sys.exit(7)


def mask_of(_=None):
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())


def wait_for(event):
    event_of_worker.wait()


def faults_with_two_of(data):
    copies = bytes(bytearray(data))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt + 0 * len(copies)


def keep_event(event):
    global event_of_worker
    event_of_worker = event


def add_to_shared(lock, queue, x):
    with lock:
        queue.put(x)
    return lock


class Interrupts:
    """Ctrl-C comes while it is pickled for the first time."""

    def __init__(self):
        self.left = 1

    def __reduce__(self):
        if self.left:
            self.left = 0
            raise KeyboardInterrupt
        return int, ()


def die_of_the_empty(data):
    if not data:
        children.die()


def wait_for_length(data):
    signal.pause()


class Counter:
    calls = 0

    def __call__(self, x):
        self.calls += 1
        return self.calls


class PoolTest(unittest.TestCase):

    def test_large_arguments_are_not_on_fresh_pages_for_each_task(self):
        with piu.Pool(1) as pool:
            faults = pool.map(faults_with_two_of, [b'x' * (1 << 20)] * 20, chunksize=1)
        pages = (1 << 20) // resource.getpagesize()
        self.assertLess(faults[-1] - faults[9], 10 * pages)  # three blocks of so many each

    def test_objects_of_piu_go_to_running_pools_and_come_back(self):
        for method in children.METHODS:
            with piu.get_context(method).Pool(2) as pool:
                pool.map(square, range(4), 1)
                lock, queue = piu.Lock(), piu.Queue()
                back = pool.starmap(add_to_shared, [(lock, queue, x) for x in range(4)], 1)
                self.assertEqual(sorted(queue.get() for _ in range(4)), [0, 1, 2, 3])
                with back[0]:
                    self.assertFalse(lock.acquire(False))

    def test_keywords_may_be_any_mapping(self):
        with piu.Pool(1) as pool:
            for mapping in ({'a': 1}, collections.ChainMap({'a': 1}),
                            collections.UserDict(a=1), types.MappingProxyType({'a': 1})):
                self.assertEqual(pool.apply(dict, (), mapping), {'a': 1})
            for other in [1], None:
                with self.assertRaises(TypeError):
                    pool.apply(dict, (), other)

    def test_a_function_that_looks_at_all_objects_finds_whole_ones(self):
        with piu.Pool(1) as pool:
            for items in [1, 2, 3], ['a', 'b', 'c']:
                self.assertEqual(pool.map(read_all_lists, items, 3), items)

    def test_a_function_with_state_comes_anew_with_each_chunk(self):
        with piu.Pool(1) as pool:
            self.assertEqual(pool.map(Counter(), range(4), 2), [1, 2, 1, 2])
            self.assertEqual(pool.apply(Counter(), (1,)), 1)

    def test_a_map_over_numbers_is_the_stdlib_s(self):
        """Ranges, and lists of ints or floats alone, travel without their objects."""
        with piu.Pool(2) as pool:
            for items in (range(0), range(1), range(100), range(50, -50, -7), [1 << 62] * 9,
                          range(1 << 64, (1 << 64) + 5), range(-(1 << 63), 1 << 63, (1 << 62) + 1),
                          [0.5, 1.5], [1, 2.5, True], (3, 4)):
                for size in (None, 1, 3):
                    for function in square, functools.partial(square):
                        self.assertEqual(pool.map(function, items, size),
                                         [square(x) for x in items])
            self.assertEqual([type(x) for x in pool.map(abs, [1, True, 2.0, -1])],
                             [int, int, float, int])

    def test_of_a_range_a_kill_loses_that_chunk_alone(self):
        with piu.Pool(2) as pool:
            result = pool.map_async(end_if_3, range(6), 1)
            with self.assertRaises(piu.WorkerLost) as lost:
                result.get()
            self.assertEqual(lost.exception.arguments, '(3,)')
            self.assertEqual(pool.map(end_if_3, range(4, 9), 2), list(range(4, 9)))

    def test_large_arguments_and_results(self):
        data = [bytes([i]) * (1 << 20) for i in range(4)] + [bytearray(5 << 20)]
        with piu.Pool(2) as pool:
            self.assertEqual(pool.map(bytes, data, 1), [bytes(d) for d in data])

    def test_a_map_of_large_items_goes_on_whoever_leads(self):
        """Few of them are on the way: the others are sent as results come."""
        items, lengths, done = [bytes(1 << 20)] * 30, [1 << 20] * 30, threading.Event()
        with piu.Pool(2) as pool:
            self.assertEqual(pool.map(len, items, 1), lengths)
            results = []
            threads = [threading.Thread(target=lambda: results.append(pool.map(len, items, 1)))
                       for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(results, [lengths] * 3)
            pool.map_async(len, items, 1, callback=lambda _: done.set())
            done.wait()  # the helper alone
            last = pool.map_async(len, items, 1)
            pool.close()
            pool.join()
            self.assertEqual(last.get(), lengths)

    def test_what_goes_wrong_after_a_map_of_large_items_has_begun(self):
        for made, error in ((lambda: lambda: 1, AttributeError), (Interrupts, KeyboardInterrupt)):
            items = [bytes(1 << 20)] * 29 + [made()]
            with piu.Pool(2) as pool:
                with self.assertRaises(error):
                    pool.map(type, items, 1)
                self.assertEqual(pool.map(square, range(9)), [x * x for x in range(9)])
                pool.close()
                pool.join()
        with piu.Pool(2) as pool:
            with self.assertRaises(piu.WorkerLost):
                pool.map(die_of_the_empty, [bytes(1 << 20)] * 20 + [b''] + [bytes(1 << 20)] * 9, 1)
            self.assertEqual(pool.map(len, [bytes(1 << 20)] * 30, 1), [1 << 20] * 30)
            result = pool.map_async(wait_for_length, [bytes(1 << 20)] * 30, 1)
            pool.terminate()
            self.assertRaises(RuntimeError, result.get)

    def test_two_pools_have_one_helper_and_a_fork_has_none(self):
        with piu.Pool(1) as pool, piu.Pool(1) as other:
            self.assertEqual(pool.apply_async(square, (2,)).get(), 4)
            self.assertEqual(other.apply_async(square, (3,)).get(), 9)
            names = [t.name for t in threading.enumerate()]
            self.assertEqual(names.count('piu helper'), 1)
            pid = os.fork()
            if pid == 0:
                os._exit(threading.active_count() - 1)
            self.assertEqual(os.waitpid(pid, 0)[1], 0)
            called = threading.Event()  # it goes on in the parent
            pool.apply_async(square, (2,), callback=lambda _: called.set())
            called.wait()

    def test_before_a_fork_no_other_thread_runs(self):
        # hooks run in the reverse order of their making: this one after piu's
        program = ('import os\n'
                   'def threads(): return len(os.listdir("/proc/self/task"))\n'
                   'def until_alone():\n'
                   '    while threads() > 1: os.sched_yield()\n'
                   'os.register_at_fork(before=until_alone)\n'  # the kernel may be at its end still
                   'import piu\n'
                   'with piu.Pool(1) as pool:\n'
                   '    pool.apply_async(abs, (-2,)).get()\n'
                   '    if os.fork() == 0: os._exit(0)\n'
                   '    os.wait()\n'
                   '    print(threads())\n')
        self.assertEqual(subprocess.check_output([sys.executable, '-c', program]), b'2\n')

    def test_a_fork_does_not_wait_for_a_callback(self):
        with mock.patch('piu._helper.PARK', 1000), piu.Pool(1) as pool:
            begun, go = threading.Event(), threading.Event()
            pool.apply_async(square, (2,), callback=lambda _: (begun.set(), go.wait()))
            begun.wait()
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            go.set()

    def test_a_death_is_noticed_at_once(self):
        with piu.Pool(1) as pool:
            pool.apply(square, (2,))
            piu.pool.Engine.look, look = lambda self: looks.append(look(self)), piu.pool.Engine.look
            try:
                looks = []
                self.assertRaises(piu.WorkerLost, pool.apply, die)
                self.assertLess(len(looks), 5)  # it is woken, and does not ask again and again
            finally:
                piu.pool.Engine.look = look

    def test_deaths_one_after_the_other_with_tasks_done_between_are_no_storm(self):
        with piu.Pool(1) as pool:
            for _ in range(6):
                os.kill(pool._pool[0].pid, signal.SIGKILL)
                pool._pool[0].join()
                self.assertEqual(pool.apply(square, (3,)), 9)

    def test_a_loss_says_whether_it_was_the_oom_killer(self):
        with piu.Pool(1) as pool:
            for oom in None, False, True:
                with mock.patch('piu._workers.Workers.was_oom', lambda workers, w: oom):
                    with self.assertRaises(piu.WorkerLost) as caught:
                        pool.apply(die)
                    self.assertIs(caught.exception.oom, oom)
                    self.assertEqual('OOM' in str(caught.exception), oom is not None)

    def test_the_counter_of_the_oom_killer_is_read(self):
        from piu import _losses
        with tempfile.NamedTemporaryFile('w') as file:
            file.write('oom 3\noom_kill 2\n')
            file.flush()
            with mock.patch.object(_losses, '_counter_path', lambda: file.name):
                self.assertEqual(_losses.oom_kills(), 2)
        with mock.patch.object(_losses, '_counter_path', lambda: None):
            self.assertIsNone(_losses.oom_kills())

    def test_without_a_number_there_are_as_many_workers_as_cpus_may_be_used(self):
        with piu.Pool() as pool:
            self.assertEqual(pool._processes, piu._piu._cpu_count())
            self.assertLessEqual(pool._processes, len(os.sched_getaffinity(0)))

    def test_it_is_one_of_the_stdlib_s(self):
        with piu.Pool(1) as pool:
            self.assertIsInstance(pool, stock.Pool)
            self.assertIsInstance(pool.apply_async(square, (2,)), stock.AsyncResult)
            for result in pool.apply_async(square, (2,)), pool.map_async(square, [2]), pool.imap(square, [2]):
                self.assertTrue(repr(result).startswith('<piu.pool.'), result)

    def test_map_and_apply_start_no_thread(self):
        with piu.Pool(2) as pool:
            self.assertEqual(pool.map(square, range(100)), [x * x for x in range(100)])
            self.assertEqual(pool.apply(square, (3,)), 9)
            self.assertEqual(threading.active_count(), 1)

    def test_a_task_lost_by_ctrl_c_says_so(self):
        with piu.Pool(1) as pool:
            with self.assertRaisesRegex(piu.WorkerLost, r'exit code 130 \(Ctrl-C\)'):
                pool.apply(signal.raise_signal, (signal.SIGINT,))
            self.assertEqual(pool.apply(square, (3,)), 9)

    def test_a_kill_loses_that_task_alone(self):
        for method in children.METHODS:
            with piu.get_context(method).Pool(2) as pool:
                results = [pool.apply_async(end_if_3, (x,)) for x in range(8)]
                for x, result in enumerate(results):
                    if x == 3:
                        with self.assertRaisesRegex(
                                piu.WorkerLost, r'end_if_3 of \(3,\).*pid \d+.*SIGKILL'):
                            result.get()
                    else:
                        self.assertEqual(result.get(), x)
                self.assertEqual(pool.map(square, [1, 2, 3]), [1, 4, 9])

    def test_a_signal_whose_handler_raises_ends_an_idle_worker_and_nothing_else(self):
        for method in children.METHODS:
            with piu.get_context(method).Pool(1) as pool:
                for function in abs, square, abs:
                    worker = pool._pool[0]
                    self.assertEqual(pool.apply(function, (1,)), 1)
                    children.wait_until_asleep(worker.pid)
                    os.kill(worker.pid, signal.SIGINT)
                    self.assertTrue(connection.wait([worker.sentinel], 30))
                    self.assertEqual(pool.map(function, [2] * 3, 1), [function(2)] * 3)

    def test_terminate_lets_an_idle_worker_end_by_its_own_handler(self):
        pool = piu.Pool(1, signal.signal, (signal.SIGTERM, exit_by_handler))
        worker = pool._pool[0]
        pool.apply(square, (1,))
        children.wait_until_asleep(worker.pid)
        pool.terminate()
        pool.join()
        self.assertEqual(worker.exitcode, 7)

    def test_every_other_end_of_a_worker_is_a_loss_too(self):
        with piu.Pool(1) as pool:
            for how in 'os._exit', 'sys.exit', 'exec':
                with self.assertRaisesRegex(piu.WorkerLost, 'exit code'):
                    pool.apply(exit_by, (how,))
            self.assertEqual(pool.apply(square, (3,)), 9)

    def test_what_an_initializer_raised_is_the_cause_with_the_workers_traceback(self):
        for method, maxtasks in ('fork', 1), ('spawn', None), ('forkserver', None):
            with piu.get_context(method).Pool(2, fail, maxtasksperchild=maxtasks) as pool:
                for call in pool.map, lambda *a: pool.map_async(*a).get(), lambda *a: next(pool.imap(*a)):
                    with self.assertRaisesRegex(
                            RuntimeError, "the initializer raised KeyError.'of the task'") as caught:
                        call(square, [1, 2])
                    cause = caught.exception.__cause__
                    self.assertIs(type(cause), KeyError)
                    self.assertIn('in fail', str(cause.__cause__))
        with piu.Pool(1, raise_what_cannot_be_pickled) as pool:
            with self.assertRaisesRegex(RuntimeError, 'the initializer raised') as caught:
                pool.apply(square, (1,))
            self.assertIn('a lambda is in it', str(caught.exception.__cause__))

    def test_an_initializer_that_failed_once_is_not_told_of_later_deaths(self):
        with tempfile.TemporaryDirectory() as place:
            with piu.Pool(1, fail_first_in, (place,)) as pool:
                self.assertEqual(pool.apply(square, (3,)), 9)
                self.assertIsNone(pool._engine.workers.unbegun)

    def test_a_loss_names_the_items_and_the_call(self):
        with piu.Pool(2) as pool:
            for call, said in (
                    (lambda: pool.map(end_if_3, range(8), 2), r'items\[2:4\] of map\(\), end_if_3 of \(2, 3\)'),
                    (lambda: pool.map(end_if_3, range(8), 1), r'item 3 of map\(\), end_if_3 of \(3,\)'),
                    (lambda: pool.starmap(end_if_3, [(3,), (4,)], 2), r'items\[0:2\] of starmap\(\)'),
                    (lambda: list(pool.imap(end_if_3, [0, 3])), r'item 1 of imap\(\), end_if_3 of \(3,\)'),
                    (lambda: list(pool.imap(end_if_3, range(4), 2)), r'chunk 1 of imap\(\), end_if_3 of \(2, 3\)'),
                    (lambda: list(pool.imap_unordered(end_if_3, [3])), r'item 0 of imap_unordered\(\)'),
                    (lambda: pool.apply(end_if_3, (3,)), r'the call of apply\(\), end_if_3 of \(3,\)')):
                with self.assertRaisesRegex(
                        piu.WorkerLost, f'^{said}.*, is lost: its worker .*, pid \\d+, was killed by SIGKILL'):
                    call()

    def test_why_no_worker_could_be_started_is_told_with_what_that_means(self):
        pool = piu.get_context('fork').Pool(1)
        pool._pool[0].kill()
        connection.wait([pool._pool[0].sentinel])
        with mock.patch('os.fork', side_effect=BlockingIOError(errno.EAGAIN, 'no more processes')):
            with self.assertRaises(BlockingIOError) as caught:
                pool.apply(square, (1,))
        self.assertIn('no workers left', str(caught.exception.__notes__))
        pool.terminate()

    def test_killed_idle_nobody_notices(self):
        with piu.Pool(2) as pool:
            self.assertEqual(pool.map(square, [1, 2]), [1, 4])
            for worker in list(pool._pool):
                os.kill(worker.pid, signal.SIGKILL)
                worker.join()
            self.assertEqual(pool.map(square, range(50), 1), [x * x for x in range(50)])

    def test_a_failing_initializer_is_an_error(self):
        for initializer in fail, die:
            with piu.Pool(2, initializer) as pool:
                self.assertRaisesRegex(RuntimeError, 'initializer', pool.map, square, [1, 2])
                self.assertRaisesRegex(RuntimeError, 'initializer', pool.map, square, [1, 2])

    def test_what_cannot_be_pickled_or_unpickled_is_an_error(self):
        with piu.Pool(1) as pool:
            self.assertRaises(stock.MaybeEncodingError, pool.apply, give_what_cannot_be_pickled)
            self.assertRaises(stock.MaybeEncodingError, pool.apply,
                              raise_what_cannot_be_unpickled)
            self.assertRaises((pickle.PicklingError, AttributeError), pool.apply, lambda: 1)
            self.assertEqual(pool.apply(square, (3,)), 9)

    def test_an_exception_that_cannot_come_is_told_by_its_class_text_and_traceback(self):
        with piu.Pool(1) as pool:
            for function, said in ((raise_what_cannot_be_unpickled, 'TwoArguments: the first'),
                                   (raise_what_cannot_be_pickled, "ValueError: ('a lambda")):
                with self.assertRaises(stock.MaybeEncodingError) as caught:
                    pool.apply(function)
                self.assertRegex(str(caught.exception), f"result: '[a-z_.]*{re.escape(said)}")
                self.assertNotIn('\\', str(caught.exception))  # quoted once
                self.assertIn(f'in {function.__name__}\n', str(caught.exception.__cause__))

    def test_an_exception_may_have_an_object_of_piu_in_it(self):
        lock = piu.Lock()
        with piu.Pool(1) as pool, lock:
            with self.assertRaises(ValueError) as caught:
                pool.apply(raise_with, (lock,))
            self.assertFalse(caught.exception.args[0].acquire(False))

    def test_a_chunksize_that_is_none_harms_nobody(self):
        pool = piu.Pool(1)
        for call in pool.map, pool.map_async, pool.starmap, pool.imap, pool.imap_unordered:
            self.assertRaisesRegex(TypeError, 'integer', call, abs, [(-1,)], 10 / 4)
        self.assertEqual(pool.map(abs, [-1, 2], 1 << 70), [1, 2])
        self.assertEqual(list(pool.imap(abs, [-1, 2], 1 << 70)), [1, 2])
        pool.close()
        pool.join()

    def test_a_call_that_raises_leaves_nothing_that_join_waits_for(self):
        pool = piu.Pool(1)
        for name, call in (('submit_chunks', lambda: pool.map(square, [1, 2])),
                           ('submit', lambda: pool.apply_async(square, (1,)))):
            stop = mock.Mock(side_effect=KeyboardInterrupt)
            with mock.patch.object(pool._engine, 'tasks', mock.Mock(
                    wraps=pool._engine.tasks, **{name: stop})):
                self.assertRaises(KeyboardInterrupt, call)
        self.assertEqual((pool._cache, pool._engine.maps, pool._engine.pending), ({}, {}, {}))
        pool.close()
        pool.join()

    def test_ctrl_c_when_a_result_has_just_been_made_leaves_nothing_that_join_waits_for(self):
        def made(result, *args):
            init(result, *args)
            raise KeyboardInterrupt

        for name, call in (('MapResult', lambda: pool.map(square, [1, 2])),
                           ('AsyncResult', lambda: pool.apply_async(square, (1,))),
                           ('IMapIterator', lambda: pool.imap(square, [1, 2])),
                           ('IMapUnorderedIterator', lambda: pool.imap_unordered(square, iter([1])))):
            pool, kind = piu.Pool(1), getattr(piu.pool, name)
            init = kind.__init__
            with mock.patch.object(kind, '__init__', made):
                self.assertRaises(KeyboardInterrupt, call)
            self.assertEqual(pool._cache, {})
            pool.close()
            pool.join()

    def test_none_is_not_a_function(self):
        with piu.Pool(1) as pool:
            for call in pool.map, pool.apply:
                with self.assertRaisesRegex(TypeError, "'NoneType' object is not callable"):
                    call(None, [1])

    def test_an_imap_in_chunks_goes_on_after_a_loss_which_names_the_users_function(self):
        with piu.Pool(2) as pool:
            for imap in pool.imap, pool.imap_unordered:
                results, got, lost = imap(end_if_3, range(8), 2), [], []
                while True:
                    try:
                        got.append(next(results))
                    except piu.WorkerLost as error:
                        lost.append((error.function, error.arguments))
                        self.assertIn('end_if_3 of (2, 3)', str(error))
                    except StopIteration:
                        break
                self.assertEqual((sorted(got), lost), ([0, 1, 4, 5, 6, 7], [(end_if_3, '(2, 3)')]))

    def test_a_remote_traceback(self):
        with piu.Pool(1) as pool:
            with self.assertRaises(KeyError) as caught:
                pool.apply(fail)
            self.assertIn("raise KeyError('of the task')", str(caught.exception.__cause__))

    def test_callbacks_run_while_the_caller_is_elsewhere(self):
        with piu.Pool(1) as pool:
            called, nested = threading.Event(), []

            def callback(value):
                nested.append(pool.apply(square, (value,)))
                called.set()
                raise ValueError('of the callback')

            pool.apply_async(square, (3,), callback=callback)
            called.wait()
            self.assertEqual(nested, [81])
            self.assertEqual(pool.apply(square, (3,)), 9)

    def test_what_cannot_be_pickled_does_not_wait_for_a_callback(self):
        begun, go = threading.Event(), threading.Event()
        with piu.Pool(1) as pool:
            pool.apply_async(square, (3,), callback=lambda _: (begun.set(), go.wait()))
            begun.wait()
            results = [pool.apply_async(lambda: 1), pool.map_async(lambda x: x, [1, 2], 1),
                       pool.map_async(square, [1, lambda: 2, 3], 1)]
            go.set()
            for result in results:
                self.assertRaises((pickle.PicklingError, AttributeError), result.get, 60)
            self.assertEqual(pool._engine.pending, {})

    def test_a_task_that_comes_again_twice_is_submitted_once(self):
        reader, writer = os.pipe()
        with piu.get_context('fork').Pool(1) as pool:
            engine = pool._engine
            busy = pool.apply_async(os.read, (reader, 1))
            with engine.lead:
                chunks = pool.map_async(square, [1, 2], 1)
                one = pool.apply_async(square, (3,))
                for number in chunks._chunks.first, max(engine.pending):
                    # two takers were killed, the second one after it had told
                    before = engine.number
                    engine.inbox += [(number, _piu.AGAIN, 0, None)] * 2
                    engine.settle()
                    self.assertEqual(engine.number, before + 1)
                    self.assertIsNone(engine.find(number))
                    self.assertIsNotNone(engine.find(before))
            os.write(writer, b'x')
            self.assertEqual((busy.get(), chunks.get(), one.get()), (b'x', [1, 4], 9))
            self.assertEqual(engine.pending, {})

    def test_maxtasksperchild_refills(self):
        with piu.Pool(2, maxtasksperchild=1) as pool:
            self.assertEqual(len(set(pool.map(pid_of, range(10), 1))), 10)

    def test_a_worker_that_the_helper_started_gets_signals(self):
        with piu.Pool(1, maxtasksperchild=1) as pool:
            for _ in range(3):  # nobody waits: the helper refills
                called, masks = threading.Event(), []
                pool.apply_async(mask_of, callback=lambda mask: (masks.append(mask), called.set()))
                called.wait()
                self.assertEqual(masks, [set()])

    def test_a_handler_that_raises_while_signals_are_blocked_leaves_none_blocked(self):
        def cut_off(how, signals):
            before = block(how, signals)
            if signals and not cut:
                cut.append(how)
                raise KeyboardInterrupt
            return before

        def feeds():
            return pool.imap(square, (x for x in range(3)))

        block, before = signal.pthread_sigmask, mask_of()
        with piu.Pool(1) as pool:
            for call in (lambda: pool.apply_async(square, (2,))), (lambda: piu.Pool(1)), feeds:
                cut = []
                with mock.patch('signal.pthread_sigmask', cut_off):
                    self.assertRaises(KeyboardInterrupt, call)
                self.assertEqual(mask_of(), before)
                pool.apply_async(square, (2,)).get(60)
            self.assertEqual(list(feeds()), [0, 1, 4])

    def test_a_handler_that_raises_while_the_helper_begins_does_not_lose_it(self):
        def start(thread):
            starts(thread)
            os.kill(os.getpid(), signal.SIGALRM)

        starts, before = threading.Thread.start, signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            with piu.Pool(1) as pool:
                with mock.patch('threading.Thread.start', start):
                    self.assertRaises(KeyboardInterrupt, pool.apply_async, square, (2,))
                pool.apply_async(square, (2,)).get(60)
                self.assertEqual([t.name for t in threading.enumerate()].count('piu helper'), 1)
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_a_handler_that_raises_while_a_worker_starts_does_not_lose_it(self):
        def by_a_signal():
            os.kill(os.getpid(), signal.SIGALRM)

        def by_another_thread():  # which had it unblocked
            raise KeyboardInterrupt

        def make(tasks, slot):
            worker = made(tasks, slot)
            start = worker.start
            worker.start = lambda: (start(), cut_off())
            return worker

        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            for cut_off in by_a_signal, by_another_thread:
                with piu.get_context('fork').Pool(1) as pool:
                    made = pool._engine.workers.make
                    pool._pool[0].kill()
                    with mock.patch.object(pool._engine.workers, 'make', make):
                        self.assertRaises(KeyboardInterrupt, pool.apply, square, (3,))
                    self.assertEqual(pool.apply(square, (3,)), 9)
                    self.assertEqual(piu.active_children(), pool._pool)
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_a_fork_whose_end_a_signal_cuts_off_does_not_stop_those_of_other_threads(self):
        def forks():
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)

        def unpark(*args, **kwds):
            if not cut:
                cut.append(True)
                raise KeyboardInterrupt
            return unparks(*args, **kwds)

        helper, cut, called = piu._engine.helper, [], threading.Event()
        with piu.Pool(1) as pool:
            pool.apply_async(square, (3,)).get()
            unparks = helper.unpark
            with mock.patch.object(helper, 'unpark', unpark), mock.patch('sys.unraisablehook') as said:
                forks()
            self.assertIs(said.call_args.args[0].exc_type, KeyboardInterrupt)
            thread = threading.Thread(target=lambda: (forks(), pool.apply_async(
                square, (3,), callback=lambda _: called.set())), daemon=True)
            thread.start()
            thread.join(30)
            self.assertTrue(called.wait(30))

    def test_an_imap_whose_input_waits_for_earlier_results(self):
        with piu.Pool(2) as pool:
            seen = threading.Event()

            def items():
                yield 1
                seen.wait()
                yield 2

            results = pool.imap(square, items())
            self.assertEqual(next(results), 1)
            seen.set()
            self.assertEqual(list(results), [4])

    def test_two_threads_wait_on_one_pool(self):
        with piu.Pool(2) as pool:
            results = []
            threads = [threading.Thread(
                target=lambda: results.append(pool.map(square, range(200), 1)))
                for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(results, [[x * x for x in range(200)]] * 3)

    def test_a_time_that_is_passed_or_not_a_number_is_over_at_once(self):
        event = piu.Event()
        with piu.Pool(1, keep_event, (event,)) as pool:
            result = pool.apply_async(wait_for, (0,))
            for timeout in 0, -1, float('nan'):
                self.assertRaises(stock.TimeoutError, result.get, timeout)
            event.set()
            result.get(60)

    def test_terminated_what_waits_is_told(self):
        event = piu.Event()
        pool = piu.Pool(1, keep_event, (event,))
        result = pool.apply_async(wait_for, (0,))
        pool.terminate()
        pool.join()
        self.assertRaisesRegex(RuntimeError, 'terminated', result.get)
        self.assertRaises(ValueError, pool.apply, square, (1,))

    def test_what_comes_in_while_terminate_runs_is_told(self):
        pool = piu.Pool(1)

        def late(*args):
            pool.terminate()
            return init(*args)

        init = piu.pool.AsyncResult.__init__
        with mock.patch.object(piu.pool.AsyncResult, '__init__', late):
            result = pool.apply_async(square, (1,))
        self.assertRaisesRegex(RuntimeError, 'terminated', result.get, 60)

    def test_an_imap_that_comes_in_while_terminate_runs_is_told(self):
        pool = piu.Pool(1)

        def late(*args):
            pool.terminate()
            return init(*args)

        init = piu.pool.IMapIterator.__init__
        with mock.patch.object(piu.pool.IMapIterator, '__init__', late):
            result = pool.imap(square, [1])
        self.assertRaisesRegex(RuntimeError, 'terminated', result.next, 60)

    def test_a_map_whose_items_terminate_its_pool_is_told_also_if_it_cannot_be_sent(self):
        for function in square, lambda x: x:  # the second cannot be pickled
            pool = piu.Pool(1)

            def items():
                yield 1
                pool.terminate()

            with self.subTest(function), self.assertRaisesRegex(RuntimeError, 'terminated'):
                pool.map(function, items())

    def test_ctrl_c_in_terminate_leaves_nobody_waiting(self):
        event = piu.Event()
        pool = piu.Pool(1, keep_event, (event,))
        result = pool.apply_async(wait_for, (0,))
        with mock.patch.object(pool._pool[0], 'join', side_effect=KeyboardInterrupt):
            self.assertRaises(KeyboardInterrupt, pool.terminate)
        self.assertRaisesRegex(RuntimeError, 'terminated', result.get, 60)
        pool._pool[0].join()

    def test_ctrl_c_in_terminate_leaves_no_worker_that_ignores_sigterm(self):
        for method in children.METHODS:
            context = piu.get_context(method)
            ignores = context.Semaphore(0)
            pool = context.Pool(2, ignore_sigterm, (ignores,))
            for _ in pool._pool:
                ignores.acquire()
            workers = list(pool._pool)
            with mock.patch.object(workers[0], 'join', side_effect=KeyboardInterrupt), \
                    mock.patch('piu._workers.KILL_AFTER', 0.01):
                self.assertRaises(KeyboardInterrupt, pool.terminate)
            for worker in workers:
                worker.join(30)
                self.assertEqual(worker.exitcode, -signal.SIGKILL)

    def test_a_fork_by_who_has_the_helpers_lock_leaves_him_that(self):
        """As by a signal's handler that comes while the helper is asked for."""
        helper = piu._engine.helper
        for begun in False, True:
            with self.subTest(begun=begun), piu.Pool(1) as pool:
                begins, forked = helper._begin, []

                def begin():
                    if not forked:
                        forked.append(True)
                        pid = os.fork()
                        if pid == 0:
                            os._exit(0)
                        os.waitpid(pid, 0)
                    return begins()

                if begun:
                    pool.apply_async(square, (2,), callback=abs).get()
                with mock.patch.object(helper, '_begin', begin):
                    self.assertTrue(helper.add(pool._engine))
                self.assertTrue(forked and not helper.lock._is_owned())
                self.assertEqual(list(pool.imap(square, [3])), [9])

    def test_a_fork_by_a_handler_within_a_fork_leaves_the_helper_to_others(self):
        """The handler comes while park() has the helper's lock."""
        def forks():
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)

        def is_alive():
            if not inner:
                inner.append(True)
                forks()
            return threading.Thread.is_alive(thread)

        helper, inner, called = piu._engine.helper, [], threading.Event()
        with piu.Pool(1) as pool:
            pool.apply_async(square, (2,)).get()
            thread = helper.thread
            thread.is_alive = is_alive
            forks()
            self.assertTrue(inner)
            self.assertFalse(helper.lock._is_owned() or helper.forking._is_owned())
            other = threading.Thread(target=lambda: (forks(), pool.apply_async(
                square, (3,), callback=lambda _: called.set())), daemon=True)
            other.start()
            self.assertTrue(called.wait(30))

    def test_a_child_of_a_handler_within_a_fork_has_a_helper_of_its_own(self):
        """The child returns from the handler, and so into the fork that this came upon."""
        def is_alive():
            if not inner:
                inner.append(os.fork())
            return threading.Thread.is_alive(thread)

        helper, inner = piu._engine.helper, []
        read, write = os.pipe()
        with piu.Pool(1) as pool:
            pool.apply_async(square, (2,)).get()
            thread = helper.thread
            thread.is_alive = is_alive
            pid = os.fork()
            if inner[0] == 0:  # it, and a child of it
                with piu.Pool(1) as own:
                    called = threading.Event()
                    threading.Thread(target=lambda: own.apply_async(
                        square, (3,), callback=lambda _: called.set()), daemon=True).start()
                    if called.wait(30) and (pid == 0 or os.waitpid(pid, 0)[1] == 0):
                        os.write(write, b'x')
                    else:
                        os._exit(1)
                os._exit(0)
            if pid == 0:
                os._exit(0)
            for child in pid, inner[0]:
                self.assertEqual(os.waitpid(child, 0)[1], 0)
            self.assertEqual(os.read(read, 9), b'xx')

    def test_threads_that_fork_at_once(self):
        called = threading.Event()

        def forks():
            for _ in range(20):
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
                os.waitpid(pid, 0)

        with piu.Pool(1) as pool:
            pool.apply_async(square, (3,), callback=print).get()
            threads = [threading.Thread(target=forks, daemon=True) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
                self.assertFalse(thread.is_alive())
            pool.apply_async(square, (3,), callback=lambda _: called.set())
            self.assertTrue(called.wait(30))

    def test_ctrl_c_in_settling_loses_no_map(self):
        """Before or after each step by which the last chunk is settled."""
        result_type, engine_type = piu.pool.MapResult, piu._engine.Engine
        for owner, name in ((result_type, '_set'), (result_type, '_complete'), (result_type, '_end'),
                            (engine_type, 'forget')):
            for after in False, True:
                for function, error in ((square, KeyboardInterrupt), (fail, KeyboardInterrupt),
                                        (square, TimeoutError)):  # of a handler of SIGALRM, say
                    with self.subTest(name=name, after=after, function=function.__name__), \
                            piu.Pool(1) as pool:
                        whole, cut = getattr(owner, name), []

                        def step(*args):
                            if cut:
                                return whole(*args)
                            cut.append(name)
                            if after:
                                whole(*args)
                            raise error

                        result = pool.map_async(function, [1, 2], 2)
                        with mock.patch.object(piu._engine.helper, 'is_alive', lambda: True), \
                                mock.patch.object(owner, name, step):
                            try:
                                result.wait(30)
                            except error:
                                pass
                            result.wait(30)
                        if function is square:
                            self.assertEqual(result.get(5), [1, 4])
                        else:
                            self.assertRaises(KeyError, result.get, 5)

    def test_what_cannot_be_settled_is_the_error_of_its_task_alone(self):
        with piu.Pool(1) as pool:
            with mock.patch.object(pool._engine, 'broken', side_effect=ArithmeticError):
                result = pool.apply_async(give_what_raises_no_repr)
                self.assertEqual(pool.apply(square, (3,)), 9)
                self.assertRaises(ArithmeticError, result.get)

    def test_a_handler_that_waits_in_settling_loses_no_refusal(self):
        """It settles what is being settled; what another thread has put there meanwhile stays."""
        with piu.Pool(1) as pool:
            whole, refused = pool._engine.settle_one, []

            def refuse():
                refused.append(pool.apply_async(square, (threading.Lock(),)))

            def settle_one(*entry):
                if not refused:
                    refused.append(None)
                    pool.apply(square, (2,))  # as a handler does that comes here
                    thread = threading.Thread(target=refuse)
                    thread.start()
                    thread.join()
                whole(*entry)

            with mock.patch.object(pool._engine, 'settle_one', settle_one), \
                    mock.patch.object(piu._engine.helper, 'note'):  # the caller leads
                self.assertEqual(pool.apply(square, (3,)), 9)
            self.assertRaises(TypeError, refused[1].get, 30)

    def test_what_has_no_name_is_told_nevertheless(self):
        with piu.Pool(1) as pool:
            self.assertRaises(stock.MaybeEncodingError, pool.apply, Nameless(), (Unpicklable,))
            self.assertRaises(piu.WorkerLost, pool.apply, Nameless(), (die,))
            self.assertEqual(pool.apply(square, (3,)), 9)

    def test_ctrl_c_in_next_does_not_stop_the_helper(self):
        def enter(condition):
            held = enters(condition)
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            return held

        enters, called = threading.Condition.__enter__, threading.Event()
        with piu.Pool(1) as pool:
            for imap in pool.imap, pool.imap_unordered:
                results = imap(square, range(9))
                with mock.patch('threading.Condition.__enter__', enter):
                    try:
                        next(results)
                    except KeyboardInterrupt:
                        pass
                self.assertEqual(results.next(60), 1)
            pool.apply_async(square, (2,), callback=lambda _: called.set())
            self.assertTrue(called.wait(60))

    def test_an_item_of_imap_that_is_settled_twice_comes_once(self):
        """Ctrl-C came when the first time was noted."""
        with piu.Pool(1) as pool:
            later, cut = pool._engine.later, []

            def noted(result, call):
                later(result, call)
                if not cut:
                    cut.append(call)
                    raise KeyboardInterrupt

            for imap in pool.imap, pool.imap_unordered:
                cut.clear()
                with mock.patch.object(pool._engine, 'later', noted), \
                        mock.patch('traceback.print_exc'):  # the helper settles it again
                    self.assertEqual(list(imap(square, range(4))), [0, 1, 4, 9])

    def test_several_threads_take_from_one_imap(self):
        with piu.Pool(2) as pool:
            for imap in pool.imap, pool.imap_unordered:
                results, got = imap(square, (x for x in range(300))), []
                threads = [threading.Thread(target=lambda: got.extend(results)) for _ in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.assertEqual(sorted(got), [x * x for x in range(300)])

    def test_ctrl_c_when_it_has_just_begun_to_lead(self):
        with piu.Pool(1) as pool:
            with mock.patch.object(pool._engine, 'lead_until', side_effect=KeyboardInterrupt):
                self.assertRaises(KeyboardInterrupt, pool.apply, square, (1,))
            self.assertFalse(pool._engine.lead._is_owned())

    def test_a_join_in_a_callback_raises(self):
        told = []
        called = threading.Event()
        pool = piu.Pool(1)

        def join(_):
            pool.close()
            try:
                pool.join()
            except RuntimeError as e:
                told.append(e)
            called.set()

        pool.apply_async(square, (3,), callback=join)
        self.assertTrue(called.wait(30))
        self.assertEqual(len(told), 1)
        pool.join()

    def test_an_imap_goes_on_in_a_thread_when_the_main_thread_has_ended(self):
        program = ('import threading, piu\n'
                   'pool = piu.get_context("fork").Pool(1)\n'
                   'def use():\n'
                   '    threading.main_thread().join()\n'
                   '    print(list(pool.imap(abs, [-1, -2])))\n'
                   'threading.Thread(target=use).start()\n')
        done = subprocess.run([sys.executable, '-c', program], stdout=subprocess.PIPE, timeout=30)
        self.assertEqual(done.stdout, b'[1, 2]\n')

    def test_a_failing_initializer_ends_join_too(self):
        pool = piu.Pool(2, os._exit, (1,))
        result = pool.map_async(square, range(4))
        pool.close()
        pool.join()
        self.assertRaisesRegex(RuntimeError, 'broken', result.get)

    def test_the_helper_outlives_a_callback_that_exits(self):
        called = threading.Event()
        with piu.Pool(1) as pool, mock.patch('traceback.print_exc') as said:
            self.assertEqual(pool.apply_async(square, (2,), callback=sys.exit).get(), 4)
            pool.apply_async(square, (3,), callback=lambda _: called.set())
            self.assertTrue(called.wait(60))
            said.assert_called_once()

    def test_death_by_a_signal_without_a_name(self):
        with piu.Pool(1) as pool:
            self.assertRaisesRegex(piu.WorkerLost, 'killed by signal 40', pool.apply, kill_self, (40,))
            self.assertEqual(pool.apply(square, (3,)), 9)

    def test_what_has_no_repr_is_told_nevertheless(self):
        with piu.Pool(1) as pool:
            self.assertRaises(stock.MaybeEncodingError, pool.apply, give_what_raises_no_repr)
            self.assertRaises(piu.WorkerLost, pool.apply, DiesWithoutRepr())
            self.assertEqual(pool.apply(square, (3,)), 9)

    def test_an_imap_cut_off_is_not_waited_for(self):
        pool = piu.Pool(1)
        with mock.patch.object(pool._engine, 'submit', side_effect=KeyboardInterrupt):
            self.assertRaises(KeyboardInterrupt, pool.imap, square, [1, 2])
        pool.close()
        pool.join()

    def test_ctrl_c_in_an_imap_shows_one_trace(self):
        over = threading.Event()

        def interrupts():
            children.wait_until_asleep(os.getpid())
            os.kill(os.getpid(), signal.SIGINT)
            over.wait()
            yield from ()

        with piu.Pool(1) as pool:
            for size in 1, 2:
                over.clear()
                with self.assertRaises(KeyboardInterrupt) as caught:
                    list(pool.imap(square, interrupts(), size))
                self.assertIsNone(caught.exception.__context__)
                over.set()

    def test_an_input_that_exits_is_told_by_next(self):
        def numbers():
            yield 2
            sys.exit('no more')

        with piu.Pool(1) as pool:
            for chunksize in 1, 2:
                found = pool.imap(square, numbers(), chunksize)
                if chunksize == 1:
                    self.assertEqual(found.next(60), 4)
                self.assertRaisesRegex(RuntimeError, 'no more', found.next, 60)

    def test_an_argument_that_exits_where_it_is_pickled_is_told_by_next(self):
        with piu.Pool(1) as pool:
            for kind in SystemExit, KeyboardInterrupt:
                found = pool.imap(repr, iter([2, RaisesAsArgument(kind), 3]))
                self.assertEqual(found.next(60), '2')
                self.assertRaises(kind, found.next, 60)
                self.assertEqual(found.next(60), '3')

    def test_a_late_chunk_that_exits_where_it_is_pickled_is_told_and_gone(self):
        told = queue.SimpleQueue()
        items = [bytes(2 << 20)] * 20 + [RaisesAsArgument(SystemExit)]  # beyond the window
        with piu.Pool(1) as pool:
            pool.map_async(len, items, 1, error_callback=told.put)
            self.assertIsInstance(told.get(timeout=60), SystemExit)
            self.assertEqual(pool.map(square, range(3)), [0, 1, 4])

    def test_a_result_that_exits_where_it_is_unpickled_is_told_and_gone(self):
        with piu.Pool(1) as pool:
            for function in give_what_exits, square:  # it may be a signal's handler that exits
                self.assertRaises(SystemExit, pool.map, function, range(3), 1)
            self.assertEqual(pool.map(square, range(3)), [0, 1, 4])
            found = pool.imap(give_what_exits, range(3))
            self.assertEqual(found.next(60), 0)
            self.assertRaisesRegex(stock.MaybeEncodingError, 'as a result', found.next, 60)
            self.assertEqual(found.next(60), 2)
            self.assertEqual(pool.map(square, range(3)), [0, 1, 4])

    def test_a_result_too_deep_for_its_repr_is_told(self):
        with piu.Pool(1) as pool:
            self.assertRaisesRegex(stock.MaybeEncodingError, 'RecursionError', pool.apply,
                                   list_in_lists, (100_000,))

    def test_a_callback_may_wait_for_an_imap(self):
        for _ in range(10):  # the leader is now the helper, now this thread
            found = []
            with piu.Pool(1) as pool:
                pool.apply_async(square, (2,), callback=lambda x: found.extend(
                    pool.imap(square, [x]).next(5) for _ in range(2))).get(60)
            self.assertEqual(found, [16, 16])

    def test_a_callback_may_wait_for_another(self):
        for _ in range(10):
            found = []
            with piu.Pool(1) as pool:
                pool.apply_async(square, (2,), callback=lambda x: found.append(
                    pool.apply_async(square, (x,), callback=found.append).get(5))).get(60)
            self.assertEqual(found, [16, 16])

    def test_a_thousand_callbacks_may_wait(self):
        count, called = 1000, queue.SimpleQueue()
        with piu.Pool(2) as pool:
            results = [pool.apply_async(square, (i,), callback=lambda x: called.put(
                pool.apply_async(square, (x,)).get())) for i in range(count)]
            self.assertEqual([r.get(60) for r in results], [i ** 2 for i in range(count)])
            self.assertEqual(sorted(called.get(timeout=60) for _ in range(count)),
                             [i ** 4 for i in range(count)])

    def test_a_child_that_a_task_forked_does_no_tasks(self):
        with piu.Pool(2) as pool:
            for _ in range(5):
                results = [pool.apply_async(fork_and_both_return, (x,)) for x in range(100)]
                self.assertEqual([r.get(20) for r in results], list(range(100)))

    def test_a_worker_that_closes_all_descriptors_goes_on(self):
        with piu.get_context('fork').Pool(1) as pool:
            pid = pool.apply(os.getpid)
            for x in range(10):
                self.assertEqual(pool.apply_async(close_all, (x,)).get(20), x)
                pool._repopulate_pool()
            self.assertEqual(pool.apply_async(os.getpid).get(20), pid)
            self.assertRaises(piu.WorkerLost, pool.apply, die)
            self.assertEqual(pool.apply_async(square, (3,)).get(20), 9)

    def test_in_a_forked_child_it_says_so(self):
        with piu.Pool(1) as pool:
            pid = os.fork()
            if pid == 0:
                try:
                    pool.map(square, [1])
                except RuntimeError as e:
                    os._exit(0 if 'belongs to process' in str(e) else 2)
                os._exit(1)
            self.assertEqual(os.waitpid(pid, 0)[1], 0)

    def test_ctrl_c_in_map_leaves_the_pool_usable(self):
        event = piu.Event()
        with piu.Pool(1, keep_event, (event,)) as pool:
            self.assertEqual(pool.apply(square, (3,)), 9)
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            self.assertRaises(KeyboardInterrupt, pool.map, wait_for, [0])
            event.set()
            self.assertEqual(pool.apply(square, (3,)), 9)

    def test_the_parent_killed_ends_its_workers(self):
        for method in children.METHODS:
            program = ('import os, signal, piu\n'
                       f'pool = piu.get_context({method!r}).Pool(2)\n'
                       'pool.map(os.getpgid, [0, 0])\n'
                       'print(*[w.pid for w in pool._pool], flush=True)\n'
                       'os.kill(os.getpid(), signal.SIGKILL)\n')
            done = subprocess.run([sys.executable, '-c', program], stdout=subprocess.PIPE)
            pids = [int(pid) for pid in done.stdout.split()]
            self.assertEqual(len(pids), 2)
            for pid in pids:
                children.wait_until(lambda: not alive(pid))

    def test_close_and_join_finish_what_is_there(self):
        pool = piu.Pool(2)
        result = pool.map_async(square, range(10))
        pool.close()
        pool.join()
        self.assertEqual(result.get(), [x * x for x in range(10)])
        self.assertEqual([w.exitcode for w in pool._pool], [0, 0])


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except OSError:
        return False


if __name__ == '__main__':
    unittest.main()
