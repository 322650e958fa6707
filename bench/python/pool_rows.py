"""Pools: the cost of a task that does nothing, of a pool, and of arrays as arguments."""

import concurrent.futures
import time

import library
from row import Part, Row, at_most, faster

PROCESSES = 2
SOME = range(100)  # before the clock starts: the workers are there


def nothing(value):
    return value


def timed(function, count):
    began = time.perf_counter()
    function()
    return (time.perf_counter() - began) / count


def map_by_pool(context, count, chunksize=None):
    with context.Pool(PROCESSES) as pool:
        pool.map(nothing, SOME, chunksize=1)
        return timed(lambda: pool.map(nothing, range(count), chunksize=chunksize), count)


def executor():
    return concurrent.futures.ProcessPoolExecutor(
        PROCESSES, mp_context=library.context('stdlib'))


def map_by_executor(count, **options):
    with executor() as pool:
        list(pool.map(nothing, SOME))
        return timed(lambda: list(pool.map(nothing, range(count), **options)), count)


def loky_executor():
    return library.find('joblib.externals.loky').get_reusable_executor(PROCESSES)


def map_by_loky(count):
    pool = loky_executor()
    list(pool.map(nothing, SOME))
    took = timed(lambda: list(pool.map(nothing, range(count))), count)
    pool.shutdown()
    return took


def map_by_mpire(count):
    with library.find('mpire').WorkerPool(PROCESSES, start_method='fork') as pool:
        pool.map(nothing, SOME, chunk_size=1)
        return timed(lambda: pool.map(nothing, range(count), chunk_size=1), count)


def map_by_pebble(count):
    with library.find('pebble').ProcessPool(
            PROCESSES, context=library.context('stdlib')) as pool:
        list(pool.map(nothing, SOME).result())
        return timed(lambda: list(pool.map(nothing, range(count)).result()), count)


def apply_and_get(context, count):
    with context.Pool(PROCESSES) as pool:
        pool.map(nothing, SOME, chunksize=1)
        return timed(lambda: [pool.apply_async(nothing, (i,)).get() for i in range(count)],
                     count)


def create_and_close(context):
    def run():
        pool = context.Pool(PROCESSES)
        pool.apply(nothing, (1,))
        pool.close()
        pool.join()
    return timed(run, 1)


def create_and_close_executor():
    def run():
        with executor() as pool:
            pool.submit(nothing, 1).result()
    return timed(run, 1)


# ---- Arrays -----------------------------------------------------------------------------------

def add_one(array):
    return array + 1


def arrays(count):
    numpy = library.find('numpy')
    return [numpy.ones(1 << 17) for _ in range(count)]


def arrays_by_pool(context, count=60):
    data = arrays(count)
    with context.Pool(PROCESSES) as pool:
        pool.map(add_one, data[:4], chunksize=1)
        return timed(lambda: pool.map(add_one, data, chunksize=1), count)


def arrays_by_loky(count=60):
    data = arrays(count)
    pool = loky_executor()
    list(pool.map(add_one, data[:4]))
    took = timed(lambda: list(pool.map(add_one, data)), count)
    pool.shutdown()
    return took


def both(function, **counts):
    return {name: lambda name=name: function(library.context(name), counts[name])
            for name in counts}


ROWS = Part('pool of two: a task that does nothing', (
    Row('map, chunksize=1', 'us',
        both(lambda context, count: map_by_pool(context, count, 1),
             piu=20_000, stdlib=5_000, billiard=3_000, multiprocess=5_000) |
        {'executor': lambda: map_by_executor(1_000), 'loky': lambda: map_by_loky(500),
         'mpire': lambda: map_by_mpire(1_000), 'pebble': lambda: map_by_pebble(500)},
        faster(8, 'stdlib')),
    Row('map, default chunks', 'us', both(map_by_pool, piu=300_000, stdlib=300_000),
        faster(1.5, 'stdlib')),
    Row('apply_async().get()', 'us', both(apply_and_get, piu=3_000, stdlib=1_000),
        faster(10, 'stdlib')),
    Row('create, first task, close', 'ms',
        library.each(create_and_close, 'piu', 'stdlib') |
        {'executor': create_and_close_executor}, at_most(0.5, 'executor')),
    Row('map over arrays of 1 MB, in and out', 'us',
        library.each(arrays_by_pool, 'piu', 'stdlib') | {'loky': arrays_by_loky},
        faster(3, 'loky')),
))
