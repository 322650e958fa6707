"""concurrent.futures: an executor by every start method; a killed worker breaks it, and it says so."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool


def square(value):
    return value * value


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def initialize(event):
    event.set()


def main():
    for method in 'fork', 'spawn', 'forkserver':
        context = multiprocessing.get_context(method)
        event = context.Event()
        with ProcessPoolExecutor(2, mp_context=context, initializer=initialize,
                                 initargs=(event,)) as executor:
            assert list(executor.map(square, range(100), chunksize=7)) == [
                i * i for i in range(100)]
            assert event.is_set()
            try:
                executor.submit(die).result(timeout=60)
            except BrokenProcessPool:
                continue
            raise AssertionError('the executor did not break')


if __name__ == '__main__':
    main()
