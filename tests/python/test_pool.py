"""Pool: the stdlib's results, and an end to each task whatever happens to its worker."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import unittest
from multiprocessing import pool as stock

import children
import piu
import piu.pool


def square(x):
    return x * x


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


class TwoArguments(Exception):
    def __init__(self, a, b):
        super().__init__(a)


def raise_what_cannot_be_unpickled():
    raise TwoArguments(1, 2)


def give_what_cannot_be_pickled():
    return lambda: 1


def pid_of(_=None):
    return os.getpid()


def mask_of(_=None):
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())


def wait_for(event):
    event_of_worker.wait()


def keep_event(event):
    global event_of_worker
    event_of_worker = event


class PoolTest(unittest.TestCase):

    def test_it_is_one_of_the_stdlib_s(self):
        with piu.Pool(1) as pool:
            self.assertIsInstance(pool, stock.Pool)
            self.assertIsInstance(pool.apply_async(square, (2,)), stock.AsyncResult)

    def test_map_and_apply_start_no_thread(self):
        with piu.Pool(2) as pool:
            self.assertEqual(pool.map(square, range(100)), [x * x for x in range(100)])
            self.assertEqual(pool.apply(square, (3,)), 9)
            self.assertEqual(threading.active_count(), 1)

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

    def test_every_other_end_of_a_worker_is_a_loss_too(self):
        with piu.Pool(1) as pool:
            for how in 'os._exit', 'sys.exit', 'exec':
                with self.assertRaisesRegex(piu.WorkerLost, 'exit code'):
                    pool.apply(exit_by, (how,))
            self.assertEqual(pool.apply(square, (3,)), 9)

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

    def test_maxtasksperchild_refills(self):
        with piu.Pool(2, maxtasksperchild=1) as pool:
            self.assertEqual(len(set(pool.map(pid_of, range(10), 1))), 10)

    def test_a_worker_that_the_helper_started_gets_signals(self):
        with piu.Pool(1, maxtasksperchild=1) as pool:
            for _ in range(3):
                self.assertEqual(pool.apply_async(mask_of).get(), set())

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

    def test_terminated_what_waits_is_told(self):
        event = piu.Event()
        pool = piu.Pool(1, keep_event, (event,))
        result = pool.apply_async(wait_for, (0,))
        pool.terminate()
        pool.join()
        self.assertRaisesRegex(RuntimeError, 'terminated', result.get)
        self.assertRaises(ValueError, pool.apply, square, (1,))

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
