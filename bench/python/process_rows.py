"""Processes: from start() to the end of join()."""

import time

import library
from row import Part, Row, at_most

GB = 1 << 30
COUNT = {'fork': 10, 'spawn': 2, 'forkserver': 4}


def nothing():
    pass


def start_one(context):
    process = context.Process(target=nothing)
    process.start()
    process.join()


def start_and_join(name, method, ballast=0):
    """Seconds a process, from a parent that has `ballast` bytes in use."""
    context = library.context(name, method)
    weight = bytearray(b'x') * ballast  # noqa: F841: it is there
    start_one(context)  # it also starts what the others use: the fork server
    began = time.perf_counter()
    for _ in range(COUNT[method]):
        start_one(context)
    return (time.perf_counter() - began) / COUNT[method]


def by(*names, **options):
    return {name: lambda name=name: start_and_join(name, **options) for name in names}


ROWS = Part('process: start and join', (
    Row('fork', 'ms', by('piu', 'stdlib', method='fork'), at_most(0.8, 'stdlib')),
    Row('spawn', 'ms', by('piu', 'stdlib', method='spawn')),
    Row('forkserver', 'ms', by('piu', 'stdlib', 'billiard', method='forkserver'),
        at_most(0.1, 'stdlib')),
    Row('fork, from 1 GB', 'ms', by('piu', 'stdlib', method='fork', ballast=GB)),
    Row('forkserver, from 1 GB', 'ms',
        by('piu', 'stdlib', method='forkserver', ballast=GB), at_most(0.1, 'stdlib')),
))
