"""tqdm: its process_map, and a bar whose lock the workers of a Pool share."""

import io
import multiprocessing

from tqdm import tqdm
from tqdm.contrib.concurrent import process_map


def square(value):
    return value * value


def bar(position):
    for _ in tqdm(range(100), position=position, file=io.StringIO()):
        pass
    return position


def main():
    squares = [i * i for i in range(50)]
    assert process_map(square, range(50), max_workers=2, chunksize=5, disable=True) == squares
    lock = multiprocessing.RLock()
    tqdm.set_lock(lock)
    with multiprocessing.Pool(2, initializer=tqdm.set_lock, initargs=(lock,)) as pool:
        assert pool.map(bar, range(4)) == [0, 1, 2, 3]
        assert list(tqdm(pool.imap(square, range(50)), total=50, file=io.StringIO())) == squares


if __name__ == '__main__':
    main()
