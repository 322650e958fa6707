"""pytest-xdist: tests that use multiprocessing, run by two of its workers."""

import sys
import tempfile
from pathlib import Path

import pytest

TESTS = '''
import multiprocessing
import pytest

def square(value):
    return value * value

@pytest.mark.parametrize('i', range(6))
def test_pool(i):
    with multiprocessing.Pool(2) as pool:
        assert pool.map(square, range(i)) == [j * j for j in range(i)]

@pytest.mark.parametrize('method', ['fork', 'spawn', 'forkserver'])
def test_queue(method):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=queue.put, args=(method,))
    process.start()
    assert queue.get(timeout=30) == method
    process.join()
'''


def main():
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / 'test_of_xdist.py'
        file.write_text(TESTS)
        return pytest.main(['-q', '-n', '2', '-p', 'no:cacheprovider', str(file)])


if __name__ == '__main__':
    sys.exit(main())
