"""joblib's default backend: loky's executor; values, arrays by memory map, an exception."""

from math import sqrt

import joblib
import numpy


def total(array):
    return float(array.sum())


def fails(value):
    raise ValueError(value)


def main():
    with joblib.parallel_config('loky', n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(sqrt)(i * i) for i in range(200)) == [
            float(i) for i in range(200)]
        big = numpy.ones(1 << 20)  # over max_nbytes: through a file that is mapped
        assert joblib.Parallel()(joblib.delayed(total)(big) for _ in range(8)) == [big.size] * 8
        try:
            joblib.Parallel()(joblib.delayed(fails)(i) for i in range(4))
        except ValueError:
            return
    raise AssertionError('the exception did not arrive')


if __name__ == '__main__':
    main()
