"""The caller is asleep or busy elsewhere, or its input, or its callbacks."""

import itertools
import os
import signal
import threading
import time

from cell import cell, goes_on, square, until


def pid_of(_=None):
    return os.getpid()


@cell('Pool', 'the caller sleeps: callbacks run', gives=9)
def callbacks_run(mp):
    with mp.Pool(1) as pool, goes_on(pool):
        called, seen = threading.Event(), []
        pool.apply_async(square, (3,), callback=lambda value: (seen.append(value), called.set()))
        called.wait()
        return seen[0]


@cell('Pool', 'the caller sleeps in select: map_async calls back', gives=[0, 1, 4])
def callbacks_run_in_select(mp):
    with mp.Pool(1) as pool, goes_on(pool):
        reader, writer = os.pipe()
        seen = []
        pool.map_async(square, range(3), callback=lambda v: (seen.extend(v), os.write(writer, b'.')))
        os.read(reader, 1)
        return seen


@cell('Pool', 'the caller computes: ready() becomes true', gives=9)
def ready_becomes_true(mp):
    with mp.Pool(1) as pool, goes_on(pool):
        result = pool.apply_async(square, (3,))
        while not result.ready():
            pass
        return result.get()


@cell('Pool', 'the caller sleeps: a worker that died is replaced', gives='replaced')
def refilled(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        pool.apply_async(square, (3,)).get()
        worker = pool._pool[0]
        os.kill(worker.pid, signal.SIGKILL)
        until(lambda: worker not in pool._pool and len(pool._pool) == 2)
        return 'replaced'


@cell('Pool', 'the caller sleeps: maxtasksperchild refills', gives=10)
def maxtasksperchild_refills(mp):
    with mp.Pool(2, maxtasksperchild=1) as pool:
        results, done = [], threading.Event()
        pool.map_async(pid_of, range(10), 1, callback=lambda pids: (results.extend(pids), done.set()))
        done.wait()
        return len(set(results))


@cell('Pool.imap', 'the input blocks', gives=[1, 'then', 4])
def imap_input_blocks(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        go = threading.Event()

        def items():
            yield 1
            go.wait()
            yield 2

        results = pool.imap(square, items())
        first = next(results)
        go.set()
        return [first, 'then', next(results)]


@cell('Pool.imap', 'the input waits for earlier results', gives=[0, 1, 4, 9])
def imap_input_waits(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        seen = []
        more = threading.Semaphore(1)

        def items():
            for i in range(4):
                more.acquire()
                yield i

        for result in pool.imap(square, items()):
            seen.append(result)
            more.release()
        return seen


@cell('Pool.imap', 'the input is endless', gives=[0, 1, 4, 9, 16])
def imap_input_endless(mp):
    with mp.Pool(2) as pool:
        return list(itertools.islice(pool.imap(square, itertools.count()), 5))


@cell('Pool.imap_unordered', 'the input is endless, the pool is closed and goes', gives=5)
def imap_unordered_endless(mp):
    with mp.Pool(2) as pool:
        results = pool.imap_unordered(square, itertools.count())
        count = len([next(results) for _ in range(5)])
    pool.join()
    return count


@cell('Pool.imap', 'the input raises', gives=[0, 'ZeroDivisionError'])
def imap_input_raises(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        def items():
            yield 0
            1 / 0

        results = pool.imap(square, items())
        seen = [next(results)]
        try:
            next(results)
        except ZeroDivisionError as e:
            seen.append(type(e).__name__)
        return seen


@cell('Pool', 'a callback that raises: the pool goes on', gives=16)
def callback_raises(mp):
    with mp.Pool(1) as pool, goes_on(pool):
        def callback(_):
            raise KeyError('of the callback')

        first = pool.apply_async(square, (3,), callback=callback)
        first.wait()
        return pool.apply_async(square, (4,)).get()


@cell('Pool', 'a callback that calls the pool and waits', gives=81)
def callback_calls_the_pool(mp):
    with mp.Pool(1) as pool, goes_on(pool):
        called, seen = threading.Event(), []

        def callback(value):
            seen.append(pool.apply(square, (value,)))
            called.set()

        pool.apply_async(square, (3,), callback=callback)
        called.wait()
        return seen[0]


@cell('Pool', 'a callback that waits for an async result of another pool', gives=81)
def callback_calls_another_pool(mp):
    with mp.Pool(1) as pool, mp.Pool(1) as other, goes_on(pool):
        called, seen = threading.Event(), []

        def callback(value):
            seen.append(other.apply_async(square, (value,)).get())
            called.set()

        pool.apply_async(square, (3,), callback=callback)
        called.wait()
        return seen[0]


@cell('Pool', 'a callback that does not return, and another pool', gives=[0, 1, 4])
def callback_blocks(mp):
    go = threading.Event()
    with mp.Pool(1) as pool, mp.Pool(1) as other:
        pool.apply_async(square, (3,), callback=lambda _: go.wait())
        result = other.map(square, range(3))
        go.set()
        return result


@cell('Pool', 'two threads wait on one pool', gives=[[0, 1, 4]] * 2)
def two_threads(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        results = []
        threads = [threading.Thread(target=lambda: results.append(pool.map(square, range(3), 1)))
                   for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


def nap(_):
    time.sleep(0.01)


@cell('Pool', 'close and join with work left', gives=[None] * 10)
def closed_with_work(mp):
    pool = mp.Pool(2)
    result = pool.map_async(nap, range(10), 1)
    pool.close()
    pool.join()
    return result.get()


@cell('Pool', 'get of what terminate has cut off', raises='RuntimeError')
def terminated_and_got(mp):
    pool = mp.Pool(1)
    result = pool.apply_async(wait_for_ever)
    pool.terminate()
    pool.join()
    result.get()


def wait_for_ever():
    signal.pause()
