"""mpire: map in order and unordered, state of a worker, an exception, a timeout."""

import time

from mpire import WorkerPool


def add(shared, value):
    return shared + value


def work(state, value):
    state['seen'] = state.get('seen', 0) + 1
    return value, state['seen']


def fails(value):
    raise KeyError(value)


def main():
    for method in 'fork', 'spawn', 'forkserver':
        with WorkerPool(2, shared_objects=10, start_method=method) as pool:
            assert pool.map(add, range(50), chunk_size=3) == list(range(10, 60))
            assert sorted(pool.imap_unordered(add, range(50))) == list(range(10, 60))
    with WorkerPool(2, use_worker_state=True) as pool:
        assert [value for value, _ in pool.map(work, range(20))] == list(range(20))
    with WorkerPool(2) as pool:
        for function, error, options in (fails, KeyError, {}), (
                time.sleep, TimeoutError, {'task_timeout': 0.2}):
            try:
                pool.map(function, [60], **options)
            except error:
                continue
            raise AssertionError(error)


if __name__ == '__main__':
    main()
