"""Queues: a stream from a process to its parent, and a message there and back."""

import pickle
import time

import library
from row import Part, Row, faster

WARM = 10  # a tenth of the messages goes before the clock starts


def stock():
    return library.context('stdlib')


def time_of_stream(put, get, start, count):
    """Seconds a message: what get() returns is put by a process that start() starts."""
    warm = count // WARM
    process = start(put, warm + count)
    for _ in range(warm):
        get()
    began = time.perf_counter()
    for _ in range(count):
        get()
    took = time.perf_counter() - began
    process.join()
    return took / count


def put_each(put, value, count):
    for _ in range(count):
        put(value)


def starter(context, make):
    value = make()  # here: without numpy the putter would end, and its getter wait for ever

    def start(put, count):
        process = context.Process(target=put_each, args=(put, value, count))
        process.start()
        return process
    return start


def by_queue(context, make, count, kind='Queue'):
    queue = getattr(context, kind)()
    return time_of_stream(queue.put, queue.get, starter(context, make), count)


def by_pipe(context, make, count):
    reader, writer = context.Pipe(duplex=False)
    return time_of_stream(writer.send, reader.recv, starter(context, make), count)


def faster_fifo():
    return library.find('faster_fifo').Queue(64 << 20)


def by_faster_fifo(make, count):
    fifo = faster_fifo()
    return time_of_stream(fifo.put, lambda: fifo.get(timeout=60),
                          starter(stock(), make), count)


def by_faster_fifo_many(make, count, batch=100):
    fifo, got = faster_fifo(), []
    start = starter(stock(), lambda: [make()] * batch)

    def get():
        if not got:
            got.extend(fifo.get_many(timeout=60))
        return got.pop()

    return time_of_stream(fifo.put_many, get, lambda put, n: start(put, n // batch), count)


def streams(make, count, others, *more):
    """The usual contenders for messages of make(): `count` by piu, `others` by the rest."""
    contenders = {
        'piu': lambda: by_queue(library.context('piu'), make, count),
        'Queue': lambda: by_queue(stock(), make, others),
        'SimpleQueue': lambda: by_queue(stock(), make, others, 'SimpleQueue'),
        'Pipe': lambda: by_pipe(stock(), make, others),
    }
    if 'fifo' in more:
        contenders['faster-fifo'] = lambda: by_faster_fifo(make, others)
        contenders['faster-fifo, many'] = lambda: by_faster_fifo_many(make, others)
    for name in ('billiard', 'multiprocess'):
        if name in more:
            contenders[name] = lambda name=name: by_queue(
                library.context(name), make, others)
    return contenders


def an_int():
    return 12345


def bytes_64():
    return b'x' * 64


def bytes_1k():
    return b'x' * 1024


def bytes_1m():
    return b'x' * (1 << 20)


def a_tuple():
    return 12345, 'name', 2.5


def array_8m():
    return library.find('numpy').ones(1 << 20)


# ---- There and back ---------------------------------------------------------------------------

def send_back(get, put):
    while (value := get()) is not None:
        put(value)


def time_of_round_trips(context, ends, count):
    (put, get), others = ends
    process = context.Process(target=send_back, args=others)
    process.start()
    for _ in range(count // WARM):
        put(1)
        get()
    began = time.perf_counter()
    for _ in range(count):
        put(1)
        get()
    took = time.perf_counter() - began
    put(None)
    process.join()
    return took / count


def round_trip_by_queue(context, count, kind='Queue'):
    there, back = getattr(context, kind)(), getattr(context, kind)()
    return time_of_round_trips(context, ((there.put, back.get), (there.get, back.put)), count)


def round_trip_by_pipe(context, count):
    ours, theirs = context.Pipe()
    return time_of_round_trips(
        context, ((ours.send, ours.recv), (theirs.recv, theirs.send)), count)


def round_trips():
    return {
        'piu': lambda: round_trip_by_queue(library.context('piu'), 50_000),
        'Pipe': lambda: round_trip_by_pipe(stock(), 2_000),
        'Queue': lambda: round_trip_by_queue(stock(), 1_000),
        'SimpleQueue': lambda: round_trip_by_queue(stock(), 1_000, 'SimpleQueue'),
    }


# ---- The floor -----------------------------------------------------------------------------------

def pickle_alone(make, count):
    """Both of a message's conversions, in one process, and nothing else."""
    value = make()
    began = time.perf_counter()
    for _ in range(count):
        pickle.loads(pickle.dumps(value, protocol=5))
    return (time.perf_counter() - began) / count


STOCK = 'Queue', 'SimpleQueue'
ROWS = Part('queue, one putter and one getter: a message', (
    Row('an int', 'us',
        streams(an_int, 200_000, 20_000, 'fifo', 'billiard', 'multiprocess'),
        faster(40, *STOCK)),
    Row('64 B of bytes', 'us', streams(bytes_64, 200_000, 20_000), faster(30, *STOCK)),
    Row('1 KB of bytes', 'us', streams(bytes_1k, 100_000, 20_000, 'fifo'),
        faster(25, *STOCK)),
    Row('tuple of int, str, float', 'us',
        streams(a_tuple, 200_000, 20_000) |
        {'pickle and no queue': lambda: pickle_alone(a_tuple, 100_000)},
        faster(8, *STOCK)),
    Row('1 MB of bytes', 'us', streams(bytes_1m, 1_000, 100), faster(15, 'Queue')),
    Row('array of 8 MB', 'ms', streams(array_8m, 60, 10), faster(15, 'Queue')),
    Row('there and back, hot', 'us', round_trips(), faster(100, 'Pipe')),
))
