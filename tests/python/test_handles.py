"""What lives how long, what may be pickled, and what a wrong handle does."""

import copy
import gc
import multiprocessing
import os
import pickle
import queue as queues
import unittest

import children
import piu
import stepped


def use(lock, queue):
    with lock:
        queue.put(type(lock).__name__)


def use_all(things, queue):
    queue.put(all(thing.acquire(False) for thing in things))


def stopped():
    stepped.begin()
    return 'read'


class Stops:
    def __reduce__(self):
        return stopped, ()


class HandleTest(unittest.TestCase):

    def test_pickling_elsewhere_is_the_stdlibs_error(self):
        for thing in (piu.Lock(), piu.RLock(), piu.Semaphore(), piu.BoundedSemaphore(),
                      piu.Condition(), piu.Event(), piu.Barrier(2)):
            text = ('%s objects should only be shared between processes through inheritance'
                    % type(thing).__name__)
            for way in pickle.dumps, copy.copy, copy.deepcopy:
                with self.assertRaisesRegex(RuntimeError, text):
                    way(thing)

    def test_a_wrong_handle_is_a_reference_error(self):
        lock = piu.Lock()
        for wrong in (bytes(24), b'\xff' * 24, b'', 'no bytes', None):
            with self.assertRaises((ReferenceError, OSError)):
                type(lock)._from_handle(wrong, None)
        with self.assertRaises(TypeError):
            type(lock)._from_handle(bytes(24))

    def test_all_kinds_reach_children_of_all_methods(self):
        for method in children.METHODS:
            context = piu.get_context(method)
            queue = context.SimpleQueue()
            for name in 'Lock', 'RLock', 'Semaphore', 'BoundedSemaphore', 'Condition':
                thing = getattr(context, name)()
                self.assertEqual(children.run(context, use, thing, queue), 0)
                self.assertEqual(queue.get(), name)

    def test_a_stock_process_may_have_them(self):
        for method in children.METHODS:
            context = multiprocessing.get_context(method)
            queue = context.SimpleQueue()
            self.assertEqual(children.run(context, use, piu.Lock(), queue), 0)
            self.assertEqual(queue.get(), 'Lock')

    def test_a_thousand_of_them_reach_one_stock_process(self):
        things = [piu.Lock() for _ in range(1000)]
        for method in 'spawn', 'forkserver':
            context = multiprocessing.get_context(method)
            queue = context.SimpleQueue()
            process = context.Process(target=use_all, args=(things, queue))
            process.start()
            self.assertTrue(queue.get())
            process.join()
            for thing in things:
                thing.release()

    def test_what_is_dropped_after_the_start_is_there_for_the_child(self):
        for method in children.METHODS:
            context = piu.get_context(method)
            queue = context.SimpleQueue()
            process = context.Process(target=use, args=(context.Lock(), queue))
            process.start()
            gc.collect()
            others = [context.Lock() for _ in range(50)]
            self.assertTrue(all(other.acquire(False) for other in others))
            self.assertEqual(queue.get(), 'Lock')
            process.join()

    def test_a_child_of_os_fork_holds_what_its_parent_drops(self):
        lock = piu.Lock()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(reader, 1)
            ok = lock.acquire(False) and not lock.acquire(False)
            os._exit(0 if ok else 1)
        del lock
        others = [piu.Lock() for _ in range(50)]
        for other in others:
            other.acquire()
        os.write(writer, b'x')
        self.assertEqual(os.waitpid(pid, 0)[1], 0)

    def test_a_double_fork(self):
        for _ in range(20):
            lock = piu.Lock()
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                if os.fork() == 0:
                    os.write(writer, b'y' if lock.acquire(False) else b'n')
                os._exit(0)
            os.close(writer)
            os.waitpid(pid, 0)
            self.assertEqual(os.read(reader, 1), b'y')
            os.close(reader)

    def test_a_message_that_comes_again_lands_its_handles_once(self):
        # killed a step later each time until the message has left the queue: the last steps
        # before that are tried, whatever is done in them
        def redelivered(steps):
            lock, queue = piu.Lock(), piu.Queue()
            queue.put((lock, b'x' * 5000, Stops()))  # too large for the queue's ring
            if not stepped.killed_after(steps, queue.get):
                return None
            try:
                self.assertEqual(queue.get(timeout=0.2)[2], 'read')
                again = True
            except queues.Empty:
                again = False
            gc.collect()
            others = [piu.Lock() for _ in range(50)]
            self.assertTrue(lock.acquire(False))
            self.assertTrue(all(other.acquire(False) for other in others), f'{steps} steps')
            return again

        try:
            first, last = 0, 1 << 16
            self.assertTrue(redelivered(first))
            while last - first > 1:
                steps = (first + last) // 2
                first, last = (steps, last) if redelivered(steps) else (first, steps)
        except PermissionError:
            self.skipTest('this process may not trace')

    def test_module_level_locks_of_a_spawned_main_are_no_trouble(self):
        # this module makes none itself; the child imports it as its main module
        context = piu.get_context('spawn')
        queue = context.SimpleQueue()
        process = context.Process(target=module_level, args=(context.Lock(), queue))
        process.start()
        self.assertTrue(queue.get())
        process.join()


def module_level(lock, queue):
    own = piu.Lock()
    queue.put(own.acquire(False) and lock.acquire(False))


if __name__ == '__main__':
    unittest.main()
