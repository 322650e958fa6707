"""Memory: what an idle pool takes, and what is kept of the arrays that went through a queue."""

import os
from pathlib import Path

import library
from row import Part, Row, at_most

PROCESSES = 8
SIZE = 8_000_000  # bytes of an array


def tree(pid):
    """Its processes: itself, and all that it and they have started."""
    yield pid
    for task in Path(f'/proc/{pid}/task').iterdir():
        for child in (task / 'children').read_text().split():
            yield from tree(int(child))


def proportional(pid):
    """Bytes: its own pages, and its part of those that it shares."""
    for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
        if line.startswith('Pss:'):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f'no Pss of process {pid}')


def of_nameless_files():
    """Bytes: also what nobody has mapped of piu's arena and its like."""
    files = {}
    for link in Path('/proc/self/fd').iterdir():
        try:
            if os.readlink(link).startswith('/memfd:'):
                status = os.stat(link)
                files[status.st_ino] = status.st_blocks * 512
        except FileNotFoundError:  # that of this very reading
            pass
    return sum(files.values())


def nothing(value):
    return value


def idle_pool(context):
    with context.Pool(PROCESSES) as pool:
        pool.map(nothing, range(10 * PROCESSES), chunksize=1)
        return sum(map(proportional, tree(os.getpid())))


def put_each(queue, array, count):
    for _ in range(count):
        queue.put(array)


def growth(context, count):
    """Bytes that the getter and what is shared have more after the last `count` arrays than after as
    many before: once all are got, and the putter has ended."""
    queue = context.Queue()
    array = library.find('numpy').ones(SIZE // 8)
    kept = []
    for _ in range(2):
        process = context.Process(target=put_each, args=(queue, array, count))
        process.start()
        for _ in range(count):
            queue.get()
        process.join()
        kept.append(proportional(os.getpid()) + of_nameless_files())
    return max(0, kept[1] - kept[0])


BOTH = 'piu', 'stdlib'
ROWS = Part('memory', (
    Row('an idle pool of 8, with its parent', 'MB', library.each(idle_pool, *BOTH),
        at_most(1, 'stdlib')),
    Row('growth by a second GB of arrays', 'MB',
        library.each(growth, *BOTH, count=10**9 // SIZE)),
))
