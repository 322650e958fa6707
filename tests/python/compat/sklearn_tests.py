"""scikit-learn's own tests of its parallel calls and of a forest that is grown by several."""

import sys

import pytest

if __name__ == '__main__':
    sys.exit(pytest.main(['-q', '-x', '-p', 'no:cacheprovider', '-p', 'no:xdist', '--pyargs',
                          'sklearn.utils.tests.test_parallel', 'sklearn.ensemble.tests.test_forest',
                          'sklearn.ensemble.tests.test_bagging', '-k', 'parallel']))
