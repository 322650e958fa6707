"""Value, Array, RawValue, RawArray: the stdlib's behaviour, with memory of the family."""

import ctypes
import gc
import mmap
import multiprocessing
import os
import subprocess
import sys
import unittest
from multiprocessing import reduction, sharedctypes as stock

import children
import piu
from piu import _piu, sharedctypes


class Point(ctypes.Structure):
    _fields_ = [('x', ctypes.c_double), ('y', ctypes.c_int)]


def add(number, array, point, raw, times):
    for _ in range(times):
        with number.get_lock():
            number.value += 1
        with array:
            array[0] += 2
    point.x += 1.5
    raw[-1] = 7


def die_adding(number):
    with number.get_lock():
        number.value += 1
        children.die()


class SharedTypesTest(unittest.TestCase):

    def test_children_of_all_methods_see_the_same_memory(self):
        for method in children.METHODS:
            context = piu.get_context(method)
            shared = (context.Value('q', 5), context.Array('i', [1, 2, 3]),
                      context.Value(Point, 0.5, 2), context.RawArray('d', 1000))
            processes = [context.Process(target=add, args=(*shared, 500)) for _ in range(2)]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            number, array, point, raw = shared
            self.assertEqual((number.value, array[:], point.x, point.y, raw[-1], raw[0]),
                             (1005, [2001, 2, 3], 3.5, 2, 7.0, 0.0))

    def test_types_and_values_are_the_stdlibs(self):
        for arguments in ('i',), ('i', 7), ('d', 0.5), (Point, 1, 2), (ctypes.c_char, b'x'):
            for lock in True, False, None, piu.Lock():
                ours = piu.Value(*arguments, lock=lock)
                theirs = multiprocessing.Value(*arguments, lock=lock)
                self.assertIs(type(ours), type(theirs))
                if hasattr(theirs, 'value'):
                    self.assertEqual(ours.value, theirs.value)
        for arguments in ('i', 3), ('i', (1, 2)), ('c', b'abc'), ('d', 0):
            ours, theirs = piu.Array(*arguments), multiprocessing.Array(*arguments)
            self.assertIs(type(ours), type(theirs))
            self.assertEqual(ours[:], theirs[:])
        self.assertEqual(type(piu.Value('i').get_lock()).__module__, 'piu.synchronize')
        self.assertIs(sharedctypes.Synchronized, stock.Synchronized)

    def test_errors_are_the_stdlibs(self):
        def error(call, *arguments, **keywords):
            try:
                call(*arguments, **keywords)
            except Exception as error:
                return type(error), str(error)
        for name, arguments, keywords in (
                ('Value', ('i', 'x'), {}), ('Value', ('i',), {'lock': 'navalue'}),
                ('Array', ('i', 10), {'lock': 'notalock'}), ('Array', ('i', -1), {}),
                ('RawValue', ('nothing',), {}), ('RawArray', ('i', 'ab'), {})):
            expected = error(getattr(multiprocessing, name), *arguments, **keywords)
            self.assertIsNotNone(expected)
            self.assertEqual(error(getattr(piu, name), *arguments, **keywords), expected)

    def test_memory_is_zeroed_aligned_and_comes_back(self):
        size = 8 << 20
        for _ in range(20):  # of one after the other: all of them would be 160 MB
            array = piu.RawArray('b', size)
            self.assertEqual(ctypes.addressof(array) % 64, 0)
            self.assertEqual(bytes(array[:100]), bytes(100))
            ctypes.memset(array, 1, size)
            address = ctypes.addressof(array)
            del array
        gc.collect()
        again = piu.RawArray('b', size)
        self.assertEqual(ctypes.addressof(again), address)

    def test_a_view_keeps_the_memory(self):
        array = piu.RawArray('b', 4096)
        view = memoryview(array).cast('B')
        view[:4] = b'keep'
        del array
        others = [piu.RawArray('b', 4096) for _ in range(20)]
        for other in others:
            ctypes.memset(other, 1, 4096)
        self.assertEqual(view[:4].tobytes(), b'keep')

    def test_no_file_is_made(self):
        piu.RawValue('i')  # the family has its memory
        before = os.listdir('/proc/self/fd')
        arrays = [piu.Array('d', 10 * mmap.PAGESIZE) for _ in range(10)]
        self.assertEqual(os.listdir('/proc/self/fd'), before)
        del arrays

    def test_too_large_is_a_memory_error(self):
        with self.assertRaises(MemoryError):
            piu.RawArray('d', 1 << 50)
        with self.assertRaises(ValueError):
            _piu.Memory(-1)

    def test_a_value_whose_holder_was_killed_passes_on(self):
        number = piu.Value('i', 0)
        children.run(piu, die_adding, number)
        with self.assertWarns(piu.OwnerDiedWarning):
            with number.get_lock():
                number.value += 1
        self.assertEqual(number.value, 2)

    def test_a_copy_is_its_own(self):
        first = piu.RawValue(Point, 1, 2)
        second = sharedctypes.copy(first)
        first.x = 5
        self.assertEqual((second.x, second.y), (1, 2))

    def test_only_processes_that_are_started_get_them(self):
        for thing in piu.Value('i'), piu.RawValue('i'), piu.Array('i', 2):
            with self.assertRaisesRegex(RuntimeError, 'through inheritance'):
                reduction.ForkingPickler.dumps(thing)

    def test_install_serves_the_stdlibs_module(self):
        code = ('import multiprocessing.sharedctypes as s, piu; piu.install(); '
                'print(type(s.RawArray("i", 3)._wrapper).__name__, '
                'type(s.Value("i")._obj._wrapper).__name__)')
        self.assertEqual(subprocess.check_output([sys.executable, '-c', code], text=True),
                         'Memory Memory\n')
        self.assertEqual(type(stock.RawArray('i', 3)._wrapper).__name__, 'BufferWrapper')


if __name__ == '__main__':
    unittest.main()
