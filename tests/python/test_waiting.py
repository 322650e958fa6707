"""Condition, Event, Barrier: values and exceptions as Python's, and deaths."""

import os
import queue
import signal
import threading
import time
import unittest
import weakref

import children
import piu


def wait_for_notify(condition, ready, queue):
    with condition:
        ready.release()
        queue.put(condition.wait())


def wait_and_die(condition, ready):
    with condition:
        ready.release()
        condition.wait()


def wait_at(barrier, queue):
    try:
        queue.put(barrier.wait())
    except threading.BrokenBarrierError:
        queue.put('broken')


def fail():
    raise KeyError('of the action')


def notify_it(condition):
    with condition:
        condition.notify()


def signal_when_asleep(pid):
    children.wait_until_asleep(pid)
    os.kill(pid, signal.SIGALRM)


def interrupt_and_hold(condition, pid):
    with condition:
        condition.notify()
        os.kill(pid, signal.SIGINT)
        children.wait_until_asleep(pid)


class ConditionTest(unittest.TestCase):

    def test_without_the_lock_it_is_an_assertion_error(self):
        for lock in None, piu.Lock(), piu.RLock():
            condition = piu.Condition(lock)
            with self.assertRaisesRegex(AssertionError, 'must acquire'):
                condition.wait()
            with self.assertRaisesRegex(AssertionError, 'lock is not owned'):
                condition.notify()
            with self.assertRaisesRegex(AssertionError, 'lock is not owned'):
                condition.notify_all()

    def test_a_wait_keeps_the_lock_that_it_began_with(self):
        lock = piu.Lock()
        condition, known = piu.Condition(lock), weakref.ref(lock)

        def exchange(*_):
            condition.__init__(piu.RLock())

        def signal_who_waits():
            children.wait_until(condition._waiting)
            os.kill(os.getpid(), signal.SIGALRM)

        before = signal.signal(signal.SIGALRM, exchange)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        lock.acquire()
        del lock
        thread = threading.Thread(target=signal_who_waits)
        thread.start()
        self.assertFalse(condition.wait(0.5))
        thread.join()
        self.assertIsNone(known())

    def test_out_of_time_is_false_and_the_lock_is_held(self):
        condition = piu.Condition()
        with condition, condition:
            self.assertIs(condition.wait(0.01), False)
            self.assertIs(condition.wait(timeout=0), False)
            self.assertEqual(condition._lock._count(), 2)

    def test_wait_for(self):
        condition = piu.Condition()
        with condition:
            self.assertEqual(condition.wait_for(lambda: 7), 7)
            self.assertFalse(condition.wait_for(lambda: 0, 0.01))

    def test_notify_reaches_children_of_all_methods(self):
        for method in children.METHODS:
            context = piu.get_context(method)
            condition, queue = context.Condition(), context.SimpleQueue()
            ready = context.Semaphore(0)
            process = context.Process(target=wait_for_notify, args=(condition, ready, queue))
            process.start()
            ready.acquire()
            with condition:
                condition.notify()
            self.assertIs(queue.get(), True)
            process.join()

    def test_a_notify_is_not_lost_with_a_killed_waiter(self):
        context = piu.get_context('fork')
        condition, queue = context.Condition(), context.SimpleQueue()
        ready = context.Semaphore(0)
        first = context.Process(target=wait_and_die, args=(condition, ready))
        first.start()
        ready.acquire()
        with condition:
            pass  # it waits
        second = context.Process(target=wait_for_notify, args=(condition, ready, queue))
        second.start()
        ready.acquire()
        with condition:
            first.kill()
            first.join()
            condition.notify()
        self.assertIs(queue.get(), True)
        second.join()

    def test_on_a_stock_lock_it_is_the_stdlibs(self):
        import multiprocessing
        from multiprocessing import synchronize
        condition = piu.Condition(multiprocessing.Lock())
        self.assertIs(type(condition), synchronize.Condition)
        with condition:
            self.assertFalse(condition.wait(0.01))

    def test_a_signals_handler_may_wait_for_one_who_needs_the_lock(self):
        context = piu.get_context('fork')
        for lock in piu.Lock(), piu.RLock():
            condition = piu.Condition(lock)

            def handler(*_):
                process = context.Process(target=notify_it, args=(condition,))
                process.start()
                process.join()

            before = signal.signal(signal.SIGALRM, handler)
            self.addCleanup(signal.signal, signal.SIGALRM, before)
            with condition:
                sender = context.Process(target=signal_when_asleep, args=(os.getpid(),))
                sender.start()
                self.assertIs(condition.wait(), True)
            sender.join()

    def test_a_notify_goes_to_the_next_where_a_handler_raises_that_had_come_to_it(self):
        context = piu.get_context('fork')
        condition, queue = context.Condition(), context.SimpleQueue()
        ready = context.Semaphore(0)
        process = context.Process(target=wait_for_notify, args=(condition, ready, queue))

        def handler(*_):
            process.start()
            ready.acquire()
            with condition:
                condition.notify()
            raise InterruptedError

        before = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        sender = context.Process(target=signal_when_asleep, args=(os.getpid(),))
        with condition:
            sender.start()
            with self.assertRaises(InterruptedError):
                condition.wait()
        self.assertIs(queue.get(), True)
        for child in process, sender:
            child.join()

    def test_ctrl_c_while_it_waits(self):
        condition = piu.Condition()
        with self.assertRaises(KeyboardInterrupt):
            with condition:
                threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
                condition.wait()
        self.assertTrue(condition.acquire(False))

    def test_ctrl_c_while_it_takes_the_lock_back_comes_with_the_lock(self):
        condition = piu.Condition()
        child = piu.get_context('fork').Process(target=interrupt_and_hold, args=(condition, os.getpid()))
        with self.assertRaises(KeyboardInterrupt) as caught:
            with condition:  # what it raises at its end would be another error
                child.start()
                condition.wait()
        self.assertIsNone(caught.exception.__context__)
        child.join()


class EventTest(unittest.TestCase):

    def test_values(self):
        event = piu.Event()
        self.assertIs(event.is_set(), False)
        self.assertIs(event.wait(0), False)
        self.assertIs(event.wait(timeout=0.01), False)
        self.assertIn(' unset>', repr(event))
        self.assertIs(event.set(), None)
        self.assertIs(event.is_set(), True)
        self.assertIs(event.wait(), True)
        self.assertIn(' set>', repr(event))
        self.assertIs(event.clear(), None)
        self.assertIs(event.is_set(), False)

    def test_ctrl_c_while_it_waits(self):
        event = piu.Event()
        with self.assertRaises(KeyboardInterrupt):
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
            event.wait()


class BarrierTest(unittest.TestCase):

    def test_a_number_of_parties_is_taken_as_it_is_or_refused(self):
        self.assertEqual(piu.Barrier(2**32 - 1).parties, 2**32 - 1)
        for parties in 0, -1:
            with self.assertRaises(ValueError):
                piu.Barrier(parties)
        for parties in 2**32, 2**32 + 2, 10**30:
            with self.assertRaises(OverflowError):
                piu.Barrier(parties)

    def test_values(self):
        barrier = piu.Barrier(1)
        self.assertEqual(barrier.wait(), 0)
        self.assertEqual((barrier.parties, barrier.n_waiting, barrier.broken), (1, 0, False))
        barrier.abort()
        self.assertTrue(barrier.broken)
        with self.assertRaises(threading.BrokenBarrierError):
            barrier.wait()
        barrier.reset()
        self.assertEqual(barrier.wait(1), 0)

    def test_out_of_time_breaks_it(self):
        barrier = piu.Barrier(2, timeout=0.01)
        with self.assertRaises(threading.BrokenBarrierError):
            barrier.wait()
        self.assertTrue(barrier.broken)

    def test_a_slow_action_is_not_out_of_time(self):
        over = time.monotonic() + 0.5
        barrier = piu.Barrier(2, lambda: children.wait_until(lambda: time.monotonic() > over))
        said = queue.SimpleQueue()
        thread = threading.Thread(target=lambda: said.put(barrier.wait(0.3)))
        thread.start()
        children.wait_until(lambda: barrier.n_waiting == 1)
        self.assertEqual({barrier.wait(), said.get()}, {0, 1})
        thread.join()

    def test_broken_says_why(self):
        barrier = piu.Barrier(2)
        self.assertRaisesRegex(threading.BrokenBarrierError, 'timeout passed.*reset', barrier.wait, 0)
        self.assertRaisesRegex(threading.BrokenBarrierError, 'a party died, .*reset', barrier.wait)
        barrier.reset()
        said = queue.SimpleQueue()
        thread = threading.Thread(target=lambda: said.put(self.assertRaisesRegex(
            threading.BrokenBarrierError, 'was reset while', barrier.wait)))
        thread.start()
        children.wait_until(lambda: barrier.n_waiting == 1)
        barrier.reset()
        thread.join()
        self.assertIsNone(said.get_nowait())

    def test_out_of_time_also_while_signals_come(self):
        handler = signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        try:
            with self.assertRaises(threading.BrokenBarrierError):
                piu.Barrier(2).wait(0.3)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)

    def test_with_an_action_it_is_whole_after_a_reset_that_broke_a_wait(self):
        barrier, said = piu.Barrier(2, action=int), queue.SimpleQueue()
        thread = threading.Thread(target=wait_at, args=(barrier, said))
        thread.start()
        children.wait_until(lambda: barrier.n_waiting == 1)
        barrier.reset()
        thread.join()
        self.assertEqual((said.get(), barrier.broken), ('broken', False))

    def test_an_action_that_raises_broken_breaks_it_too(self):
        def action():
            raise threading.BrokenBarrierError

        barrier = piu.Barrier(1, action=action)
        with self.assertRaises(threading.BrokenBarrierError):
            barrier.wait()
        self.assertTrue(barrier.broken)

    def test_it_breaks_when_one_that_had_arrived_is_killed(self):
        context = piu.get_context('fork')
        barrier, queue = context.Barrier(3), context.SimpleQueue()
        processes = [context.Process(target=wait_at, args=(barrier, queue)) for _ in range(2)]
        for process in processes:
            process.start()
        children.wait_until(lambda: barrier.n_waiting == 2)
        processes[0].kill()
        self.assertEqual(queue.get(), 'broken')
        processes[1].join()

    def test_an_action_that_raises_breaks_it_for_all(self):
        context = piu.get_context('fork')
        barrier, queue = context.Barrier(2, action=fail), context.SimpleQueue()
        process = context.Process(target=wait_at, args=(barrier, queue))
        process.start()
        with self.assertRaises((KeyError, threading.BrokenBarrierError)):
            barrier.wait()
        process.join()
        self.assertTrue(barrier.broken)

    def test_ctrl_c_while_it_waits(self):
        context = piu.get_context('fork')
        barrier, queue = context.Barrier(2), context.SimpleQueue()
        with self.assertRaises(KeyboardInterrupt):
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
            barrier.wait()
        self.assertEqual((barrier.n_waiting, barrier.broken), (0, False))
        process = context.Process(target=wait_at, args=(barrier, queue))
        process.start()
        self.assertEqual({barrier.wait(), queue.get()}, {0, 1})
        process.join()

    def test_killed_in_the_action_the_others_are_told(self):
        for method in children.METHODS:
            context = piu.get_context(method)
            barrier, queue = context.Barrier(3, action=children.die), context.SimpleQueue()
            processes = [context.Process(target=wait_at, args=(barrier, queue)) for _ in range(2)]
            for process in processes:
                process.start()
            children.wait_until(lambda: barrier.n_waiting == 2)
            victim = context.Process(target=wait_at, args=(barrier, queue))
            victim.start()
            self.assertEqual([queue.get() for _ in range(2)], ['broken'] * 2)
            self.assertTrue(barrier.broken)
            for process in (victim, *processes):
                process.join()

    def test_a_reset_or_an_abort_while_the_action_runs_leaves_nobody_alone(self):
        for name in 'reset', 'abort':
            barrier, said = piu.Barrier(2, action=lambda: getattr(barrier, name)()), queue.SimpleQueue()
            thread = threading.Thread(target=wait_at, args=(barrier, said))
            thread.start()
            children.wait_until(lambda: barrier.n_waiting == 1)
            with self.assertRaises(threading.BrokenBarrierError):
                barrier.wait(60)
            thread.join()
            self.assertEqual((said.get(), barrier.broken), ('broken', name == 'abort'))

    def test_signals_while_another_party_runs_the_action(self):
        """A handler that returns costs nobody his place; one that raises breaks it for all."""
        def signal_main():
            acts.append(barrier.n_waiting)
            # one in the last instructions before the sleep is seen with the next
            children.wait_until(lambda: handled or os.kill(os.getpid(), signal.SIGALRM))

        def handler(*_):
            handled.append(True)
            if raises and len(handled) == 1:
                raise KeyboardInterrupt

        for raises in False, True:
            acts, handled, said = [], [], queue.SimpleQueue()
            barrier = piu.Barrier(2, action=signal_main)
            thread = threading.Thread(target=lambda: (
                children.wait_until(lambda: barrier.n_waiting == 1), wait_at(barrier, said)))
            before = signal.signal(signal.SIGALRM, handler)
            try:
                thread.start()
                if raises:
                    self.assertRaises(KeyboardInterrupt, barrier.wait)
                else:
                    self.assertEqual(barrier.wait(), 0)
            finally:
                signal.signal(signal.SIGALRM, before)
            thread.join()
            self.assertEqual((acts, said.get()), ([2], 'broken' if raises else 1))

    def test_an_action_is_run_before_any_is_released(self):
        context = piu.get_context('fork')
        seen = context.Value('i', 0)
        barrier = context.Barrier(3, action=lambda: setattr(seen, 'value', 1))
        queue = context.SimpleQueue()

        def pass_it():
            barrier.wait()
            queue.put(seen.value)

        processes = [context.Process(target=pass_it) for _ in range(2)]
        for process in processes:
            process.start()
        pass_it()
        self.assertEqual([queue.get() for _ in range(3)], [1, 1, 1])
        for process in processes:
            process.join()


if __name__ == '__main__':
    unittest.main()
