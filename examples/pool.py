"""A pool of four processes squares five numbers."""
import piu as multiprocessing


def square(x):
    return x * x


if __name__ == '__main__':
    with multiprocessing.Pool(processes=4) as pool:
        print(pool.map(square, [1, 2, 3, 4, 5]))
