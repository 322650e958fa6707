"""Queue, JoinableQueue, SimpleQueue: the stdlib's semantics, what arrives, and deaths."""

import ctypes
import mmap
import os
import pickle
import queue as exceptions
import signal
import subprocess
import sys
import threading
import unittest
import weakref
from multiprocessing import connection, queues as stock
from random import Random

import children
import piu
import piu.queues
from piu import _piu

OBJECTS = [
    None, True, False, 0, -1, 2**63 - 1, -2**63, 2**63, -2**200, 1.5, float('inf'), '', 'abc',
    'é', '€', '\N{GRINNING FACE}', '\ud800', b'', b'x', b'x' * 4096, 'y' * 5000, b'z' * 1000000,
    (), (1, 'a', b'b', None, (2.5, ())), tuple(range(16)), tuple(range(17)),
    (((((1,),),),),), [1, [2]], {'a': {1, 2}}, bytearray(b'abc'), list(range(5000)),
    [], [None, 2.5, 'a', (b'b', ())], [(1, [2])], list(range(17)), [*range(17), 'a'], [2**64] * 20,
    (1.5, None, True) * 6000, (*range(17), 'a'), ('a' * 1000,) * 20,
    (b'x' * 3000, 'y' * 3000), 1j, Ellipsis,
]


class Buffer:
    """Its bytes are beside the pickle."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        if protocol >= 5:
            return Buffer, (pickle.PickleBuffer(self.data),)
        return Buffer, (bytearray(self.data),)


class Array(Buffer):
    """As numpy's: made by a function of that name over what came."""

    def __reduce_ex__(self, protocol):
        return _frombuffer, (pickle.PickleBuffer(self.data),)


def _frombuffer(data):
    return Array(data)


SIZES = [1, 100_000, (256 << 10) - 1, 256 << 10, 700_000, 1 << 20, (2 << 20) + 1,
         (4 << 20) - 1, 4 << 20, 5_000_001]


def resident():
    """Bytes."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


class Received:
    """What arrives of one Array put."""

    def __init__(self, queue, size, fill):
        queue.put(Array(bytearray([fill]) * size))
        self.data, self.size, self.fill = queue.get().data, size, fill

    def is_whole(self):
        data = memoryview(self.data)
        return data.nbytes == self.size and data == bytes([self.fill]) * self.size


class Unpicklable:
    def __reduce__(self):
        raise KeyError('of the object')


class Bomb:
    def __reduce__(self):
        return int, ('no number',)


class Hooked(piu.queues.Queue):

    def __init__(self, *args, **keywords):
        super().__init__(*args, **keywords)
        self.told = []

    def __getstate__(self):
        return {'parent': super().__getstate__(), 'told': self.told}

    def __setstate__(self, state):
        super().__setstate__(state['parent'])
        self.told = state['told']

    def _on_queue_feeder_error(self, error, obj):
        self.told.append((type(error), type(obj)))


STOCK_POOL = '''
import signal
from multiprocessing import pool, queues
import piu.queues
workers = pool.Pool(2)
assert type(workers) is pool.Pool and isinstance(workers._inqueue, piu.queues.SimpleQueue)
workers.map(abs, range(4))
print(*(worker.pid for worker in workers._pool), flush=True)
signal.pause()
'''


def sleeps(thread):
    with open(f'/proc/self/task/{thread.native_id}/stat') as file:
        return file.read().rpartition(')')[2].split()[0] == 'S'


def echo(given, back):
    while True:
        thing = given.get()
        back.put(thing)
        if thing == 'end':
            return


def put_and_leave(queue, count):
    for number in range(count):
        queue.put(number)


def get_and_wait(queue, back):
    back.put(queue.get())
    signal.pause()


def get_forever(queue, ready):
    ready.put(os.getpid())
    while True:
        queue.get()


def put_large_forever(queue, ready):
    data = bytes(50_000_000)
    ready.put(1)
    while True:
        queue.put(data)


class BuffersTest(unittest.TestCase):

    def test_they_are_private_and_writable_and_none_overlaps_another(self):
        queue = piu.Queue()
        random = Random(1)
        kept = []
        for number in range(300):
            sizes = SIZES if random.random() < 0.3 else SIZES[4:6]  # where others were, too
            kept.append(Received(queue, random.choice(sizes), number % 256))
            if random.random() < 0.5:
                del kept[random.randrange(len(kept))]
            del kept[:-20]
            for one in kept[-3:]:
                one.fill = random.randrange(256)
                memoryview(one.data)[:] = bytes([one.fill]) * one.size
            self.assertTrue(all(one.is_whole() for one in random.sample(kept, min(4, len(kept)))))
        self.assertTrue(all(one.is_whole() for one in kept))

    def test_a_forked_child_has_its_own(self):
        queue, back = piu.Queue(), piu.Queue()
        kept = [Received(queue, 1 << 20, 1) for _ in range(12)]

        def write_and_drop():
            for one in kept:
                memoryview(one.data)[:] = bytes(one.size)
            kept.clear()
            kept.extend(Received(queue, 1 << 20, 2) for _ in range(12))
            back.put(all(one.is_whole() for one in kept))

        children.run(piu.get_context('fork'), write_and_drop)
        self.assertTrue(back.get())
        self.assertTrue(all(one.is_whole() for one in kept))

    def test_memory_of_those_that_are_gone_is_given_back(self):
        queue = piu.Queue()
        Received(queue, 1 << 20, 1)
        before = resident()
        some = [Received(queue, 1 << 20, number % 256) for number in range(320)]
        self.assertGreater(resident() - before, 300 << 20)
        del some[::2]  # each lies beside one that stays
        self.assertLess(resident() - before, (160 + 32 + 16) << 20)
        self.assertTrue(all(one.is_whole() for one in some))
        some += [Received(queue, 1 << 20, 7) for _ in range(40)]
        self.assertTrue(all(one.is_whole() for one in some))
        del some[:]
        self.assertLess(resident() - before, (16 + 8) << 20)

    def test_a_gigabyte_that_is_got_and_dropped_leaves_no_growth(self):
        queue = piu.Queue()
        Received(queue, 1 << 20, 1)
        before = resident()
        for number in range(1024):
            got = Received(queue, 1 << 20, number % 256)
        self.assertTrue(got.is_whole())
        self.assertLess(resident() - before, 24 << 20)


class ObjectsTest(unittest.TestCase):

    def test_objects_arrive_as_they_were(self):
        for queue in piu.Queue(), piu.JoinableQueue(), piu.SimpleQueue():
            for thing in OBJECTS:
                queue.put(thing)
                got = queue.get()
                self.assertEqual(got, thing)
                self.assertIs(type(got), type(thing))

    @unittest.skipIf(sys.version_info >= (3, 12), 'has no such strings')
    def test_a_string_that_c_made_the_old_way_arrives(self):
        """It has no kind yet: such as PyUnicode_FromUnicode(NULL, size) gives."""
        make, place = ctypes.pythonapi.PyUnicode_FromUnicode, ctypes.pythonapi.PyUnicode_AsUnicode
        make.argtypes, make.restype = (ctypes.c_void_p, ctypes.c_ssize_t), ctypes.py_object
        place.argtypes, place.restype = (ctypes.py_object,), ctypes.c_void_p
        queue, (connection, other) = piu.SimpleQueue(), piu.Pipe()
        for put, get in (queue.put, queue.get), (connection.send, other.recv):
            for within in lambda text: text, lambda text: (1, text), lambda text: {text: text}:
                text, letters = make(None, 3), ctypes.create_unicode_buffer('a€c', 3)
                ctypes.memmove(place(text), letters, ctypes.sizeof(letters))
                put(within(text))
                self.assertEqual(get(), within('a€c'))

    def test_what_is_in_an_object_twice_is_one_object_there(self):
        queue, inner, circle = piu.Queue(), [1], []
        circle.append(circle)
        queue.put([inner, inner])
        queue.put((inner, inner))
        queue.put(circle)
        for _ in range(2):
            got = queue.get()
            self.assertIs(got[0], got[1])
        got = queue.get()
        self.assertIs(got[0], got)

    def test_a_list_that_is_changed_while_put_waits_arrives_as_it_was(self):
        queue, numbers = piu.Queue(1), list(range(10_000))
        for _ in range(5):
            queue.put('full')
            before = list(numbers)
            putter = threading.Thread(target=queue.put, args=(numbers,))
            putter.start()
            children.wait_until(lambda: sleeps(putter))
            numbers.append(0)
            queue.get()
            self.assertIn(queue.get(timeout=60), (before, numbers))
            putter.join()

    def test_buffers_are_private_and_writable(self):
        queue = piu.Queue()
        for size in 0, 1, 5000, 1000000:
            for data in bytearray(os.urandom(size)), os.urandom(size):
                queue.put([Buffer(data), Buffer(b'1234')])
                got = queue.get()
                self.assertEqual(bytes(got[0].data), data)
                self.assertEqual(bytes(got[1].data), b'1234')
                self.assertFalse(memoryview(got[0].data).readonly)

    def test_a_class_may_keep_its_buffer_and_send_it_on(self):
        queue = piu.Queue()
        for size in SIZES:
            for thing in Buffer(bytearray(size)), [1, Buffer(bytearray(size))]:
                queue.put(thing)
                got = queue.get()
                data = (got[1] if type(got) is list else got).data
                self.assertIs(type(data), bytearray)
                queue.put([data])
                self.assertEqual(queue.get(), [bytes(size)])

    def test_changes_after_put_are_not_seen(self):
        queue, thing = piu.Queue(), [1]
        queue.put(thing)
        thing.append(2)
        self.assertEqual(queue.get(), [1])

    def test_an_object_that_cannot_be_pickled_raises_and_takes_no_room(self):
        queue = piu.Queue(1)
        for wrong in (lambda: 0), Unpicklable(), (1, Unpicklable()):
            with self.assertRaises((AttributeError, KeyError, pickle.PicklingError)):
                queue.put(wrong)
        self.assertEqual(queue.qsize(), 0)
        queue.put(1, False)

    def test_an_object_that_cannot_be_unpickled_raises_and_the_next_arrives(self):
        queue = piu.Queue()
        queue.put(Bomb())
        queue.put(7)
        with self.assertRaises(ValueError):
            queue.get()
        self.assertEqual(queue.get(), 7)

    def test_a_text_that_was_written_over_is_an_error(self):
        """A str of what are no characters would be one that Python itself cannot make."""
        queue, text = piu.Queue(), '\N{GRINNING FACE}written over'
        queue.put(text)
        descriptor = _piu._family()[1]
        with mmap.mmap(descriptor, os.fstat(descriptor).st_size) as arena:
            at = arena.rfind(text.encode('utf-32-le'))
            arena[at:at + 4] = b'\0\0\x11\0'
        with self.assertRaises(ValueError):
            queue.get()

    def test_the_hook_of_a_subclass_is_called_instead(self):
        queue = Hooked(ctx=piu.get_context())
        queue.put(Unpicklable())
        queue.put(1)
        self.assertEqual(queue.get(), 1)
        self.assertEqual(queue.told, [(KeyError, Unpicklable)])

    def test_objects_of_piu_travel(self):
        queue, lock, inner = piu.Queue(), piu.Lock(), piu.SimpleQueue()
        inner.put('in')
        queue.put((lock, inner))
        other, same = queue.get()
        lock.acquire()
        self.assertFalse(other.acquire(False))
        self.assertEqual(same.get(), 'in')

    def test_to_and_from_children_of_all_methods(self):
        for method in children.METHODS:
            context = piu.get_context(method)
            for make in context.Queue, context.JoinableQueue, context.SimpleQueue:
                there, back = make(), make()
                process = context.Process(target=echo, args=(there, back))
                process.start()
                for thing in OBJECTS:
                    there.put(thing)
                there.put('end')
                for thing in [*OBJECTS, 'end']:
                    self.assertEqual(back.get(), thing)
                process.join()

    def test_a_subclass_keeps_its_state_in_a_spawned_child(self):
        context = piu.get_context('spawn')
        queue = Hooked(ctx=context)
        queue.told.append('kept')
        back = context.Queue()
        self.assertEqual(children.run(context, put_told, queue, back), 0)
        self.assertEqual(back.get(), ['kept'])


def put_told(queue, back):
    back.put(queue.told)


class SemanticsTest(unittest.TestCase):

    def test_full_and_empty(self):
        for make in piu.Queue, piu.JoinableQueue:
            queue = make(maxsize=2)
            self.assertEqual((queue.empty(), queue.full(), queue.qsize()), (True, False, 0))
            for wrong in ((False,), (True, 0), (True, 0.01), (True, -1), (False, None)):
                with self.assertRaises(exceptions.Empty):
                    queue.get(*wrong)
            with self.assertRaises(exceptions.Empty):
                queue.get_nowait()
            queue.put(1)
            queue.put(obj=2, block=True, timeout=1)
            self.assertEqual((queue.empty(), queue.full(), queue.qsize()), (False, True, 2))
            for wrong in dict(block=False), dict(timeout=0.01), dict(block=0, timeout=9):
                with self.assertRaises(exceptions.Full):
                    queue.put(3, **wrong)
            with self.assertRaises(exceptions.Full):
                queue.put_nowait(bytes(10000))
            self.assertEqual([queue.get(), queue.get(block=True, timeout=1)], [1, 2])

    def test_arguments_that_are_wrong(self):
        queue = piu.Queue()
        for call in (lambda: queue.put(), lambda: queue.put(1, 2, 3, 4),
                     lambda: queue.put(1, blok=2), lambda: queue.put(1, obj=1),
                     lambda: queue.get(1, 2, 3), lambda: queue.get(obj=1),
                     lambda: queue.get(True, 'x')):
            with self.assertRaises(TypeError):
                call()

    def test_closed(self):
        queue = piu.Queue()
        with self.assertRaises(AssertionError):
            queue.join_thread()
        queue.cancel_join_thread()
        queue.close()
        queue.close()
        queue.join_thread()
        for call in (lambda: queue.put(1), queue.get, lambda: queue.put_nowait(1),
                     queue.get_nowait):
            with self.assertRaisesRegex(ValueError, 'Queue .* is closed'):
                call()

    def test_empty_after_close_where_it_has_put_and_where_not(self):
        for kind in piu.Queue, piu.JoinableQueue:
            unused, used = kind(), kind()
            unused.close()
            self.assertTrue(unused.empty())
            used.put(1)
            used.close()
            with self.assertRaisesRegex(OSError, 'is closed'):
                used.empty()

    def test_a_simple_queue_that_was_closed(self):
        queue = piu.SimpleQueue()
        queue.close()
        queue.close()
        self.assertTrue(queue._reader.closed and queue._writer.closed)
        for call in queue.get, queue.empty, lambda: queue.put(1):
            with self.assertRaises(OSError):
                call()

    def test_it_is_one_of_the_stdlibs(self):
        for name in 'Queue', 'JoinableQueue', 'SimpleQueue':
            queue = getattr(piu, name)()
            self.assertIsInstance(queue, getattr(stock, name))
            self.assertIsNotNone(weakref.ref(queue)())
            queue.anything = 1
            with self.assertRaisesRegex(RuntimeError, 'through inheritance'):
                pickle.dumps(queue)

    def test_a_simple_queue_has_no_end_of_file(self):
        queue = piu.SimpleQueue()
        self.assertEqual(children.run(piu.get_context('fork'), queue.put, 1), 0)
        queue._writer.close()
        self.assertEqual(queue.get(), 1)
        self.assertFalse(queue._reader.poll(0))

    def test_workers_of_the_stdlibs_pool_end_with_a_killed_parent(self):
        parent = subprocess.Popen([sys.executable, '-m', 'piu', '-c', STOCK_POOL],
                                  stdout=subprocess.PIPE)
        workers = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        parent.kill()
        parent.communicate()
        while workers:  # readable: it has ended
            for worker in connection.wait(workers):
                workers.remove(worker)
                os.close(worker)

    def test_the_ends_are_level_triggered(self):
        for queue in piu.Queue(), piu.SimpleQueue():
            reader = queue._reader
            self.assertFalse(reader.poll())
            self.assertEqual(connection.wait([reader], 0), [])
            queue.put(1)
            for _ in range(2):
                self.assertEqual(connection.wait([reader], 5), [reader])
                self.assertTrue(reader.poll())
            self.assertEqual(reader.recv(), 1)
            self.assertEqual(connection.wait([reader], 0), [])
            queue._writer.send(2)
            self.assertEqual(queue.get(), 2)
            self.assertIs(queue._reader.closed, False)
            reader.close()
            self.assertIs(queue._reader.closed, True)

    def test_tasks(self):
        queue = piu.JoinableQueue()
        queue.join()
        queue.put(1)
        queue.put(2)
        for _ in range(2):
            queue.get()
            queue.task_done()
        queue.join()
        with self.assertRaisesRegex(ValueError, 'called too many times'):
            queue.task_done()

    def test_two_threads_may_get(self):
        queue, got = piu.Queue(), []
        threads = [threading.Thread(target=lambda: got.append(queue.get())) for _ in range(2)]
        for thread in threads:
            thread.start()
        queue.put(1)
        queue.put(2)
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(got), [1, 2])

    def test_ctrl_c_while_it_gets(self):
        for call in piu.Queue().get, piu.SimpleQueue().get:
            with self.assertRaises(KeyboardInterrupt):
                threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
                call()


class EndsTest(unittest.TestCase):

    def test_join_before_the_queue_is_drained(self):
        for method in children.METHODS:
            context = piu.get_context(method)
            queue = context.Queue()
            self.assertEqual(children.run(context, put_and_leave, queue, 20000), 0)
            self.assertEqual([queue.get() for _ in range(20000)], list(range(20000)))

    def test_what_was_put_outlives_a_kill(self):
        context = piu.get_context('fork')
        queue = context.Queue()
        self.assertEqual(children.run(context, children.call, put_and_leave, queue, 100),
                         -signal.SIGKILL)
        self.assertEqual([queue.get() for _ in range(100)], list(range(100)))

    def test_a_getter_killed_inside_get(self):
        context = piu.get_context('fork')
        for make in context.Queue, context.SimpleQueue:
            queue, ready = make(), context.SimpleQueue()
            process = context.Process(target=get_forever, args=(queue, ready))
            process.start()
            ready.get()
            process.kill()
            process.join()
            queue.put('x')
            self.assertEqual(queue.get(), 'x')

    def test_a_putter_killed_inside_a_large_put(self):
        context = piu.get_context('fork')
        for _ in range(3):
            queue, ready = context.Queue(3), context.SimpleQueue()
            process = context.Process(target=put_large_forever, args=(queue, ready))
            process.start()
            ready.get()
            self.assertEqual(len(queue.get()), 50_000_000)
            process.kill()
            process.join()
            while not queue.empty():
                self.assertEqual(len(queue.get()), 50_000_000)
            for number in range(3):
                queue.put(number, timeout=30)
            self.assertEqual([queue.get() for _ in range(3)], [0, 1, 2])

    def test_a_bounded_queue_whose_only_getter_died(self):
        context = piu.get_context('fork')
        queue, back = context.Queue(1), context.SimpleQueue()
        process = context.Process(target=get_and_wait, args=(queue, back))
        process.start()
        queue.put(1)
        self.assertEqual(back.get(), 1)
        process.kill()
        process.join()
        queue.put(2)
        with self.assertRaises(exceptions.Full):
            queue.put(3, timeout=0.01)
        self.assertEqual(queue.get(), 2)

    def test_join_when_a_worker_died_between_get_and_task_done(self):
        context = piu.get_context('fork')
        queue, back = context.JoinableQueue(), context.SimpleQueue()
        process = context.Process(target=get_and_wait, args=(queue, back))
        process.start()
        queue.put(1)
        self.assertEqual(back.get(), 1)
        process.kill()
        process.join()
        queue.join()


if __name__ == '__main__':
    unittest.main()
