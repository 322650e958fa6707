"""Pipe(): the stdlib's semantics, one of the stdlib's at the other end, and deaths."""

import array
import copyreg
import os
import pickle
import signal
import struct
import threading
import unittest
from multiprocessing import connection as stock, get_context

import children
import piu

OBJECTS = [
    None, True, False, 0, 1, -1, 255, 256, 65535, 65536, -2**31, 2**31 - 1, 2**31, -2**31 - 1,
    2**39 - 1, 2**39, -2**39, -2**39 - 1, 2**63 - 1, -2**63, 2**63, -2**200, 1.5, float('inf'),
    -0.0, '', 'abc', 'x' * 255, 'x' * 256, 'x' * 1024, 'x' * 1025, 'é', 'é' * 300, '\ud800',
    '\N{GRINNING FACE}', b'', b'x', b'x' * 255, b'x' * 256, b'x' * 1024, b'x' * 1025, b'y' * 4086,
    b'y' * 200000, (), (1, 'a', b'b', None, (2.5, ())), [1, [2, {3: 'x'}]], {'a': {1, 2}},
    list(range(1000)), [[[[[[1]]]]]], bytearray(b'abc'), 1j, Ellipsis, array.array('i', [1]), int,
]


class Money(int):
    """Pickle asks an int's subclass what it is."""

    def __reduce__(self):
        return Money, (int(self) + 1,)


class Unpicklable:
    def __reduce__(self):
        raise KeyError('of the object')


def raw(end):
    """The next message, by the descriptor alone."""
    size, = struct.unpack('!i', os.read(end.fileno(), 4))
    data = b''
    while len(data) < size:
        data += os.read(end.fileno(), size - len(data))
    return data


def echo(end):
    while (thing := end.recv()) is not None:
        end.send(thing)


def send_ends(carrier, end):
    carrier.send(end)
    carrier.recv()


def pipes():
    yield piu.Pipe(duplex=False)
    yield piu.Pipe()


class MessagesTest(unittest.TestCase):

    def test_objects_arrive_as_they_were(self):
        for reader, writer in pipes():
            for thing in OBJECTS:
                sender = threading.Thread(target=writer.send, args=(thing,))
                sender.start()
                got = reader.recv()
                sender.join()
                self.assertIs(type(got), type(thing))
                self.assertEqual(repr(got), repr(thing))

    def test_what_is_sent_is_what_pickle_makes(self):
        reader, writer = piu.Pipe(duplex=False)
        for thing in OBJECTS:
            sender = threading.Thread(target=writer.send, args=(thing,))
            sender.start()
            self.assertEqual(raw(reader), pickle.dumps(thing), repr(thing)[:40])
            sender.join()

    def test_pickles_of_all_protocols_are_read(self):
        reader, writer = piu.Pipe(duplex=False)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            for thing in OBJECTS[:-12]:
                writer.send_bytes(pickle.dumps(thing, protocol)[:60000])
                self.assertEqual(repr(reader.recv()), repr(thing))

    def test_what_is_no_pickle_raises_what_pickle_raises(self):
        reader, writer = piu.Pipe(duplex=False)
        whole = [pickle.dumps(thing, protocol) for protocol in (3, 4)
                 for thing in (1, 1000, 70000, 2**40, 1.5, 'abc', b'x' * 300, None)]
        wrong = [data[:cut] for data in whole for cut in range(len(data))]
        wrong += [data[:-1] + end for data in whole for end in (b'\xff', b'N.', b'NN.')]
        # \x01: no opcode, and as the highest byte of a length no more than 16 MB
        wrong += [data[:at] + b'\x01' + data[at + 1:] for data in whole for at in range(len(data))]
        for data in wrong:
            writer.send_bytes(data)
            try:
                expected = repr(pickle.loads(data))
            except Exception as error:
                expected = type(error)
            try:
                got = repr(reader.recv())
            except Exception as error:
                got = type(error)
            self.assertEqual(got, expected, data)

    def test_what_is_registered_is_asked(self):
        reader, writer = piu.Pipe(duplex=False)
        for register in copyreg.pickle, stock.reduction.register:
            kind = type('Kind', (), {})
            register(kind, lambda thing: (str, ('registered',)))
            for thing in kind(), [kind()], {'a': kind()}:
                writer.send(thing)
                self.assertIn('registered', str(reader.recv()))
        writer.send(Money(1))
        self.assertEqual(reader.recv(), 2)

    def test_an_object_that_cannot_be_pickled_raises_and_nothing_is_sent(self):
        reader, writer = piu.Pipe(duplex=False)
        self.assertRaises(KeyError, writer.send, [1, Unpicklable()])
        self.assertFalse(reader.poll())
        self.assertRaisesRegex(RuntimeError, 'inheritance', writer.send, piu.Lock())

    def test_one_of_the_stdlibs_is_at_the_other_end(self):
        for ours, end in pipes():
            theirs = stock.Connection(os.dup(end.fileno()), readable=end.readable)
            for thing in OBJECTS:
                sender = threading.Thread(target=theirs.send, args=(thing,))
                sender.start()
                self.assertEqual(repr(ours.recv()), repr(thing))
                sender.join()
        ours, end = piu.Pipe()
        theirs = stock.Connection(os.dup(end.fileno()))
        for thing in OBJECTS:
            sender = threading.Thread(target=ours.send, args=(thing,))
            sender.start()
            self.assertEqual(repr(theirs.recv()), repr(thing))
            sender.join()

    def test_bytes_in_parts(self):
        reader, writer = piu.Pipe(duplex=False)
        numbers = array.array('i', range(10))
        for arguments, expected in (
                ((b'abcdef',), b'abcdef'), ((b'abcdef', 2), b'cdef'), ((b'abcdef', 6), b''),
                ((b'abcdef', 2, 3), b'cde'), ((b'abcdef', 0, 0), b''),
                ((numbers, 4, 8), numbers.tobytes()[4:12])):
            writer.send_bytes(*arguments)
            self.assertEqual(reader.recv_bytes(), expected)
        for arguments, said in (
                ((b'abc', 4), 'buffer length < offset'), ((b'abc', 2, 2), 'offset \\+ size'),
                ((b'abc', -1), 'offset is negative'), ((b'abc', 0, -1), 'size is negative')):
            self.assertRaisesRegex(ValueError, said, writer.send_bytes, *arguments)
        self.assertRaises(TypeError, writer.send_bytes, 'abc')
        self.assertFalse(reader.poll())

    def test_bytes_into_a_buffer(self):
        reader, writer = piu.Pipe(duplex=False)
        place = array.array('i', bytes(40))
        for size in 8, 0, 20:
            writer.send_bytes(b'x' * size)
            self.assertEqual(reader.recv_bytes_into(place, 4), size)
        self.assertEqual(place.tobytes(), bytes(4) + b'x' * 20 + bytes(16))
        writer.send_bytes(b'y' * 41)
        with self.assertRaises(piu.BufferTooShort) as caught:
            reader.recv_bytes_into(place)
        self.assertEqual(caught.exception.args, (b'y' * 41,))
        self.assertRaisesRegex(ValueError, 'negative offset', reader.recv_bytes_into, place, -1)
        self.assertRaisesRegex(ValueError, 'too large', reader.recv_bytes_into, place, 41)
        self.assertRaises(TypeError, reader.recv_bytes_into, b'read-only')
        large = bytearray(300_000)
        sender = threading.Thread(target=writer.send_bytes, args=(b'z' * 300_000,))
        sender.start()
        self.assertEqual(reader.recv_bytes_into(large), 300_000)
        sender.join()
        self.assertEqual(large, b'z' * 300_000)

    def test_longer_than_allowed(self):
        reader, writer = piu.Pipe()
        self.assertRaisesRegex(ValueError, 'negative', reader.recv_bytes, -1)
        writer.send_bytes(b'abc')
        self.assertEqual(reader.recv_bytes(3), b'abc')
        writer.send_bytes(b'abcd')
        self.assertRaisesRegex(OSError, 'bad message length', reader.recv_bytes, 3)
        self.assertFalse(reader.readable)
        reader, writer = piu.Pipe(duplex=False)
        writer.send_bytes(b'abcd')
        self.assertRaisesRegex(OSError, 'bad message length', reader.recv_bytes, 3)
        self.assertTrue(reader.closed)

    def test_a_size_of_eight_bytes(self):
        reader, writer = piu.Pipe(duplex=False)
        os.write(writer.fileno(), struct.pack('!iQ', -1, 3) + b'abc')
        self.assertEqual(reader.recv_bytes(), b'abc')
        os.write(writer.fileno(), struct.pack('!iQ', -1, 5000) + b'x' * 5000)
        self.assertEqual(reader.recv_bytes(), b'x' * 5000)
        os.write(writer.fileno(), struct.pack('!iQ', -1, 2**63))
        self.assertRaises(MemoryError, reader.recv_bytes)

    def test_select_sees_each_message(self):
        for reader, writer in pipes():
            for thing in 1, 'abc', b'x' * 3000:
                writer.send(thing)
            for _ in range(3):
                self.assertEqual(stock.wait([reader], 0), [reader])
                reader.recv()
            self.assertEqual(stock.wait([reader], 0), [])


class EndsTest(unittest.TestCase):

    def test_it_is_one_of_the_stdlibs(self):
        for end in (*piu.Pipe(), *piu.Pipe(False), *get_context('spawn').Pipe()):
            self.assertIsInstance(end, stock.Connection)
        with piu.Pipe()[0] as end:
            self.assertIsInstance(end.fileno(), int)
        self.assertTrue(end.closed)

    def test_closed_and_the_wrong_end(self):
        reader, writer = piu.Pipe(duplex=False)
        self.assertEqual((reader.readable, reader.writable), (True, False))
        for call in reader.send, reader.send_bytes:
            self.assertRaisesRegex(OSError, 'connection is read-only', call, b'')
        for call in (writer.recv, writer.recv_bytes, writer.poll,
                     lambda: writer.recv_bytes_into(bytearray(1))):
            self.assertRaisesRegex(OSError, 'connection is write-only', call)
        reader.close()
        reader.close()
        self.assertRaises(BrokenPipeError, writer.send, 1)
        writer.close()
        for call in (lambda: writer.send(1), lambda: writer.send_bytes(b''), reader.recv,
                     reader.recv_bytes, reader.poll, reader.fileno,
                     lambda: reader.recv_bytes_into(bytearray(1))):
            self.assertRaisesRegex(OSError, 'handle is closed', call)

    def test_the_end_of_the_stream(self):
        for reader, writer in pipes():
            writer.send(1)
            writer.close()
            self.assertTrue(reader.poll())
            self.assertEqual(reader.recv(), 1)
            self.assertTrue(reader.poll())
            for call in reader.recv, reader.recv_bytes:
                self.assertRaises(EOFError, call)

    def test_the_end_within_a_message_is_what_the_stdlib_says(self):
        whole = struct.pack('!i', 100_000) + b'x' * 100_000
        for size in (0, 1, 3, 4, 5, 5000, 60000):
            said = []
            for kind in stock.Connection, type(piu.Pipe()[0]):
                reader, writer = os.pipe()
                os.write(writer, whole[:size])
                os.close(writer)
                try:
                    kind(reader, writable=False).recv()
                except Exception as error:
                    said.append((type(error), str(error)))
            self.assertEqual(said[0], said[1])
            self.assertIn(said[0][0], (EOFError, OSError))

    def test_a_peer_that_left_with_what_it_had_not_read_is_a_reset(self):
        for kind in stock.Connection, type(piu.Pipe()[0]):
            ours, theirs = piu.Pipe()
            end = kind(os.dup(ours.fileno()))
            end.send(1)
            ours.close()
            theirs.close()
            self.assertRaises(ConnectionResetError, end.recv)
            self.assertRaises(EOFError, end.recv)

    def test_poll_waits(self):
        reader, writer = piu.Pipe(duplex=False)
        self.assertFalse(reader.poll())
        self.assertFalse(reader.poll(-1))
        self.assertFalse(reader.poll(timeout=0.01))
        threading.Timer(0.05, writer.send, (1,)).start()
        self.assertTrue(reader.poll(None))
        self.assertTrue(reader.poll(10))

    def test_one_that_does_not_wait_is_never_left_within_a_message(self):
        for reader, writer in pipes():
            os.set_blocking(reader.fileno(), False)
            os.set_blocking(writer.fileno(), False)
            self.assertRaises(BlockingIOError, reader.recv)
            sent = 0
            try:
                while True:
                    writer.send_bytes(b'x' * 1000)
                    sent += 1
            except BlockingIOError:
                pass
            got = []
            sender = threading.Thread(target=lambda: (reader.poll(), got.extend(
                reader.recv_bytes() for _ in range(sent))))
            sender.start()
            sender.join()
            self.assertEqual(set(got), {b'x' * 1000})
            sender = threading.Thread(target=writer.send_bytes, args=(b'y' * 1_000_000,))
            sender.start()
            reader.poll(None)
            self.assertEqual(reader.recv_bytes(), b'y' * 1_000_000)
            sender.join()


class ProcessesTest(unittest.TestCase):

    def test_ends_go_to_children_of_all_methods_of_ours_and_the_stdlibs(self):
        for library in piu, stock.reduction.context:
            for method in children.METHODS:
                ours, theirs = piu.Pipe()
                process = (library.get_context(method) if library is piu
                           else get_context(method)).Process(target=echo, args=(theirs,))
                process.start()
                theirs.close()
                for thing in OBJECTS[1:]:
                    ours.send(thing)
                    self.assertEqual(repr(ours.recv()), repr(thing))
                ours.send(None)
                process.join()
                self.assertEqual(process.exitcode, 0)

    def test_ends_go_through_queues_and_pipes(self):
        queue = piu.Queue()
        carrier, other = piu.Pipe()
        for put, get in (queue.put, queue.get), (carrier.send, other.recv):
            for reader, writer in pipes():
                put(writer)
                copy = get()
                self.assertIs(type(copy), type(writer))
                self.assertEqual((copy.readable, copy.writable),
                                 (writer.readable, writer.writable))
                copy.send('through it')
                self.assertEqual(reader.recv(), 'through it')

    def test_a_writer_killed_within_a_message_is_an_end(self):
        for duplex in False, True:
            reader, writer = piu.Pipe(duplex)
            process = piu.get_context('fork').Process(
                target=writer.send_bytes, args=(bytes(50_000_000),))
            process.start()
            writer.close()
            reader.poll(None)
            os.kill(process.pid, signal.SIGKILL)
            with self.assertRaises((EOFError, OSError)) as caught:
                reader.recv_bytes()
            self.assertRegex(str(caught.exception), 'got end of file|^$|reset')
            process.join()

    def test_other_threads_run_while_one_waits(self):
        reader, writer = piu.Pipe(duplex=False)
        got = []
        thread = threading.Thread(target=lambda: got.append(reader.recv()))
        thread.start()
        writer.send('from another thread')
        thread.join()
        self.assertEqual(got, ['from another thread'])


class SignalsTest(unittest.TestCase):

    def interrupt(self, call):
        """Ctrl-C in a child that sleeps in call(); its exit code."""
        begun, begins = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(begins, b'x')
                call()
            except KeyboardInterrupt:
                os._exit(42)
            finally:
                os._exit(1)

        os.read(begun, 1)
        children.wait_until_asleep(pid)
        os.kill(pid, signal.SIGINT)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_ctrl_c_ends_each_wait(self):
        for reader, writer in pipes():
            for call in (reader.recv, reader.recv_bytes, lambda: reader.poll(None),
                         lambda: reader.recv_bytes_into(bytearray(1)),
                         lambda: writer.send_bytes(bytes(10_000_000))):
                self.assertEqual(self.interrupt(call), 42)

    def test_a_handler_that_returns_ends_no_wait(self):
        reader, writer = piu.Pipe(duplex=False)
        calls = []

        def handler(*_):
            calls.append(1)
            if len(calls) == 3:
                writer.send('now')
                signal.setitimer(signal.ITIMER_REAL, 0)

        self.addCleanup(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, handler))
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        self.assertEqual(reader.recv(), 'now')


if __name__ == '__main__':
    unittest.main()
