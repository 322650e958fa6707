"""Locks, and a shared value under its lock."""

import time

import library
from row import Part, Row, at_most, faster


def pair(context, kind='Lock', count=400_000):
    lock = getattr(context, kind)()
    acquire, release = lock.acquire, lock.release
    began = time.perf_counter()
    for _ in range(count):
        acquire()
        release()
    return (time.perf_counter() - began) / count


def with_statement(context, count=300_000):
    lock = context.Lock()
    began = time.perf_counter()
    for _ in range(count):
        with lock:
            pass
    return (time.perf_counter() - began) / count


def pairs_for(lock, seconds, start, result):
    start.wait()
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(100):
            lock.acquire()
            lock.release()
        count += 100
    result.send(count)


def contended(context, seconds=0.15):
    """The time that one pair takes while two processes do nothing else."""
    lock, start = context.Lock(), context.Event()
    ours, theirs = context.Pipe(duplex=False)
    workers = [context.Process(target=pairs_for, args=(lock, seconds, start, theirs))
               for _ in range(2)]
    for worker in workers:
        worker.start()
    start.set()
    pairs = sum(ours.recv() for _ in workers)
    for worker in workers:
        worker.join()
    return seconds / pairs


def value_add(context, count=100_000):
    value = context.Value('i', 0)
    began = time.perf_counter()
    for _ in range(count):
        with value.get_lock():
            value.value += 1
    return (time.perf_counter() - began) / count


BOTH = 'piu', 'stdlib'
ROWS = Part('lock: acquire and release', (
    Row('pair of calls', 'ns', library.each(pair, *BOTH), at_most(1.15, 'stdlib')),
    *(Row(f'pair of {kind}', 'ns', library.each(pair, *BOTH, kind=kind),
          at_most(1.15, 'stdlib')) for kind in ('RLock', 'Semaphore', 'BoundedSemaphore')),
    Row('with lock', 'ns', library.each(with_statement, *BOTH), at_most(0.5, 'stdlib')),
    Row('contended by two', 'ns', library.each(contended, *BOTH), faster(2, 'stdlib')),
    Row('with value.get_lock(): value += 1', 'ns', library.each(value_add, *BOTH)),
))
