"""pebble: map, a time limit, a cancelled task, a worker that is killed."""

import os
import signal
import time
from concurrent.futures import CancelledError, TimeoutError

from pebble import ProcessExpired, ProcessPool


def square(value):
    return value * value


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def raises(error, future):
    try:
        future.result(timeout=60)
    except error:
        return True
    return False


def main():
    with ProcessPool(max_workers=2) as pool:
        assert list(pool.map(square, range(50), chunksize=4).result()) == [
            i * i for i in range(50)]
        assert raises(TimeoutError, pool.schedule(time.sleep, args=[60], timeout=0.2))
        assert raises(ProcessExpired, pool.schedule(die))
        future = pool.schedule(time.sleep, args=[60])
        while not future.running():
            time.sleep(0.01)
        assert future.cancel() and raises(CancelledError, future)
        assert pool.schedule(square, args=[7]).result(timeout=60) == 49


if __name__ == '__main__':
    main()
