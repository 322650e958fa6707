"""Lock, RLock, Semaphore, BoundedSemaphore: Python's semantics to the letter, and deaths."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import unittest
import warnings
from multiprocessing import connection, synchronize as stock

import children
import piu


TWO_DEATHS = '''
import children, piu
context = piu.get_context('fork')
for lock in context.Lock(), context.Lock():
    children.run(context, children.call, lock.acquire)
    with lock:
        pass
'''


def acquire_and_say(lock, queue):
    queue.put(lock.acquire())


def hold(lock):
    lock.acquire()


def die_inside(lock):
    with lock:
        children.die()


def die_holding(lock):
    lock.acquire()
    children.die()


def release(lock):
    lock.release()


def wait_for_lock(lock, event, queue):
    event.set()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        queue.put((lock.acquire(), [w.category.__name__ for w in seen]))


class LockTest(unittest.TestCase):

    def test_arguments_are_those_of_the_stdlib(self):
        for make in piu.Lock, piu.RLock, piu.Semaphore, piu.BoundedSemaphore:
            lock = make()
            self.assertIs(lock.acquire(), True)
            self.assertIs(lock.release(), None)
            self.assertIs(lock.acquire(True, None), True)
            lock.release()
            self.assertIs(lock.acquire(block=False), True)
            lock.release()
            self.assertIs(lock.acquire(timeout=0.5, block=True), True)
            lock.release()
            for wrong in ({'blocking': True}, {'block': True, 'timeot': 1}):
                with self.assertRaises(TypeError):
                    lock.acquire(**wrong)
            with self.assertRaises(TypeError):
                lock.acquire(True, None, 1)
            with self.assertRaises(TypeError):
                lock.acquire(True, block=True)
            with self.assertRaises(TypeError):
                lock.acquire(True, 'soon')
            with self.assertRaises(TypeError):
                lock.release(1)

    def test_it_is_one_of_the_stdlibs_for_isinstance(self):
        for name in ('Lock', 'RLock', 'Semaphore', 'BoundedSemaphore', 'Condition', 'Event'):
            self.assertIsInstance(getattr(piu, name)(), getattr(stock, name))

    def test_out_of_time_is_false(self):
        lock = piu.Lock()
        lock.acquire()
        self.assertIs(lock.acquire(False), False)
        self.assertIs(lock.acquire(False, 10), False)
        self.assertIs(lock.acquire(timeout=0), False)
        self.assertIs(lock.acquire(timeout=-1), False)
        self.assertIs(lock.acquire(timeout=0.05), False)

    def test_released_too_often(self):
        with self.assertRaisesRegex(ValueError, 'semaphore or lock released too many times'):
            piu.Lock().release()
        with self.assertRaisesRegex(ValueError, 'semaphore or lock released too many times'):
            piu.BoundedSemaphore(2).release()
        with self.assertRaisesRegex(
                AssertionError, 'attempt to release recursive lock not owned by thread'):
            piu.RLock().release()

    def test_with_gives_true_and_releases(self):
        for make in piu.Lock, piu.RLock, piu.Semaphore, piu.BoundedSemaphore:
            lock = make()
            with self.assertRaises(KeyError):
                with lock as got:
                    self.assertIs(got, True)
                    raise KeyError
            self.assertFalse(lock._semlock._is_zero())

    def test_reprs_are_those_of_the_stdlib(self):
        def texts(module):
            lock, rlock = module.Lock(), module.RLock()
            yield from (repr(lock), repr(rlock))
            with lock, rlock, rlock:
                yield from (repr(lock), repr(rlock))
                said = []
                thread = threading.Thread(
                    target=lambda: said.extend((repr(lock), repr(rlock))))
                thread.start()
                thread.join()
                yield from said
            yield from (repr(module.Semaphore(3)), repr(module.BoundedSemaphore(3)))
            yield repr(module.Condition()).replace(repr(module.RLock()), '')

        import multiprocessing
        self.assertEqual(list(texts(piu)), list(texts(multiprocessing)))

    def test_a_recursive_lock_counts(self):
        lock = piu.RLock()
        for _ in range(3):
            lock.acquire()
        self.assertEqual(lock._semlock._count(), 3)
        for _ in range(3):
            self.assertTrue(lock._semlock._is_mine())
            lock.release()
        self.assertFalse(lock._semlock._is_mine())

    def test_the_first_argument_of_acquire_is_what_the_stdlibs_takes(self):
        def tells(lock, block):
            try:
                return lock.acquire(block)
            except TypeError:
                return TypeError

        for block in True, 1, 0.5, None, 'x':
            for kind in 'Lock', 'RLock', 'Semaphore', 'BoundedSemaphore':
                self.assertEqual(tells(getattr(piu, kind)(), block),
                                 tells(getattr(multiprocessing, kind)(), block), (kind, block))

    def test_values_of_semaphores(self):
        self.assertEqual(piu.Semaphore().get_value(), 1)
        self.assertEqual(piu.Semaphore(0).get_value(), 0)
        semaphore = piu.Semaphore(2)
        semaphore.release()
        self.assertEqual(semaphore.get_value(), 3)
        for wrong, error in (-1, OSError), (2**31, OverflowError), ('1', TypeError):
            self.assertRaises(error, piu.Semaphore, wrong)

    def test_units_of_a_plain_semaphore_by_with_come_back_others_do_not(self):
        for method in children.METHODS:
            context = piu.get_context(method)
            semaphore = context.Semaphore(2)
            self.assertEqual(children.run(context, die_inside, semaphore), -signal.SIGKILL)
            self.assertTrue(semaphore.acquire(timeout=10))
            self.assertTrue(semaphore.acquire(timeout=10))
            self.assertFalse(semaphore.acquire(False))
            semaphore.release()
            self.assertEqual(children.run(context, die_holding, semaphore), -signal.SIGKILL)
            self.assertFalse(semaphore.acquire(False))

    def test_another_process_may_release_a_lock(self):
        for method in children.METHODS:
            context = piu.get_context(method)
            lock = context.Lock()
            lock.acquire()
            self.assertEqual(children.run(context, release, lock), 0)
            self.assertTrue(lock.acquire(False))

    def test_ctrl_c_while_it_waits(self):
        lock = piu.Lock()
        lock.acquire()
        main = os.getpid()
        # again and again: a signal that comes before the sleep is seen, too
        for _ in range(5):
            killer = threading.Thread(target=os.kill, args=(main, signal.SIGINT))
            with self.assertRaises(KeyboardInterrupt):
                killer.start()
                lock.acquire()
            killer.join()


class DeathTest(unittest.TestCase):

    def test_a_killed_holders_lock_is_acquired_with_a_warning(self):
        for method in children.METHODS:
            for name in ('Lock', 'RLock'):
                context = piu.get_context(method)
                lock = getattr(context, name)()
                self.assertEqual(children.run(context, children.call, hold, lock), -9)
                with self.assertWarns(piu.OwnerDiedWarning):
                    self.assertIs(lock.acquire(), True)
                self.assertEqual(lock.owner_died, 1)
                lock.release()
                lock.acquire()
                self.assertEqual(lock.owner_died, 1)

    def test_each_death_is_told_also_at_the_same_line(self):
        done = subprocess.run([sys.executable, '-c', TWO_DEATHS], capture_output=True, text=True)
        self.assertEqual(done.stderr.count('OwnerDiedWarning'), 2, done.stderr)

    def test_in_a_with_statement_too(self):
        context = piu.get_context('fork')
        lock = context.Lock()
        children.run(context, children.call, hold, lock)
        with self.assertWarns(piu.OwnerDiedWarning):
            with lock:
                self.assertTrue(lock._semlock._is_mine())
        self.assertTrue(lock.acquire(False))

    def test_the_warning_as_an_error_leaves_it_free(self):
        context = piu.get_context('fork')
        lock = context.Lock()
        children.run(context, children.call, hold, lock)
        with warnings.catch_warnings():
            warnings.simplefilter('error', piu.OwnerDiedWarning)
            with self.assertRaises(piu.OwnerDiedWarning):
                lock.acquire()
            self.assertTrue(lock.acquire(False))

    def test_a_waiter_gets_it_when_the_holder_is_killed(self):
        context = piu.get_context('fork')
        lock, held, waits = context.Lock(), context.Event(), context.Event()
        queue = context.SimpleQueue()
        holder = context.Process(target=hold_for_ever, args=(lock, held))
        holder.start()
        held.wait()
        waiter = context.Process(target=wait_for_lock, args=(lock, waits, queue))
        waiter.start()
        waits.wait()
        holder.kill()
        self.assertEqual(queue.get(), (True, ['OwnerDiedWarning']))
        waiter.join()

    def test_the_warning_names_who_died_and_of_what(self):
        context = piu.get_context('fork')
        for lock in context.Lock(), context.RLock():
            for waits in False, True:  # for one that holds it; or it is dead already
                held = context.Event()
                holder = context.Process(target=hold_for_ever, args=(lock, held))
                holder.start()
                held.wait()
                killer = threading.Thread(target=self.kill_when_waited_for, args=(holder, waits))
                killer.start()
                if not waits:
                    killer.join()
                with self.assertWarnsRegex(
                        piu.OwnerDiedWarning,
                        fr'^pid {holder.pid} \(killed by signal 9\) died while it held this lock.*check'):
                    self.assertTrue(lock.acquire())
                killer.join()
                holder.join()
                lock.release()

    def kill_when_waited_for(self, holder, waits):
        if waits:
            children.wait_until_asleep(os.getpid())
        holder.kill()
        connection.wait([holder.sentinel])

    def test_who_died_is_not_guessed(self):
        context = piu.get_context('fork')
        lock = context.Lock()
        children.run(context, children.call, hold, lock)
        lock.release()  # by another: that a holder died is all that is kept
        with self.assertWarnsRegex(piu.OwnerDiedWarning, '^a process died while it held this lock'):
            self.assertTrue(lock.acquire())

    def test_the_lock_of_one_that_left_stays_locked_and_waiters_are_told(self):
        context = piu.get_context('fork')
        lock = context.Lock()
        self.assertEqual(children.run(context, hold, lock), 0)
        self.assertFalse(lock.acquire(False))
        with self.assertWarnsRegex(piu.LockLeftWarning, 'ended without releasing this lock.*calls release'):
            self.assertFalse(lock.acquire(timeout=1.2))
        lock.release()
        self.assertTrue(lock.acquire(False))

    def test_units_of_a_killed_holder_come_back(self):
        context = piu.get_context('fork')
        for semaphore in context.BoundedSemaphore(1), context.Semaphore(1, recover=True):
            children.run(context, children.call, hold, semaphore)
            self.assertTrue(semaphore.acquire(timeout=10))

    def test_a_late_release_for_a_killed_holder_is_no_error(self):
        context = piu.get_context('fork')
        for semaphore in context.BoundedSemaphore(1), context.Semaphore(1, recover=True):
            children.run(context, children.call, hold, semaphore)
            self.assertTrue(semaphore.acquire(timeout=10))
            semaphore.release()
            semaphore.release()  # for the dead one
            self.assertEqual((semaphore.get_value(), semaphore.owner_died), (1, 0))
            if isinstance(semaphore, piu.synchronize.BoundedSemaphore):
                self.assertRaises(ValueError, semaphore.release)


def hold_for_ever(lock, held):
    lock.acquire()
    held.set()
    signal.pause()


if __name__ == '__main__':
    unittest.main()
