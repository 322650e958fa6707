"""joblib's own tests of Parallel, but for those that measure time or look for libraries."""

import sys

import pytest

if __name__ == '__main__':
    sys.exit(pytest.main(['-q', '-x', '-p', 'no:cacheprovider', '-p', 'no:xdist',
                          '--pyargs', 'joblib.test.test_parallel', '-k',
                          'simple_parallel or multiprocessing and not nested']))
