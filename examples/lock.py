"""Four processes add to one counter: without a lock additions are lost, with it none."""
import contextlib
import os

import piu as multiprocessing

PROCESSES = 4
ROUNDS = 25000
TOTAL = PROCESSES * ROUNDS


def add(lock, counter):
    for _ in range(ROUNDS):
        with lock or contextlib.nullcontext():
            seen = counter.value
            os.sched_yield()           # what others write in this moment ...
            counter.value = seen + 1   # ... is lost here


def count(lock):
    counter = multiprocessing.Value('l', 0, lock=False)
    processes = [multiprocessing.Process(target=add, args=(lock, counter))
                 for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return counter.value


if __name__ == '__main__':
    value = count(None)
    print(f'without the lock: {value} of {TOTAL},',
          'some are lost' if value < TOTAL else 'none is lost')
    print(f'with the lock: {count(multiprocessing.Lock())} of {TOTAL}')
