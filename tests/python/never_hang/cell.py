"""usage: cell.py LIBRARY NAME: run one cell of the never-hang table in this process.

A cell is a small program with one right end: a value, or an exception.  It is called with the
fork context of a library that has multiprocessing's names, and the last line printed says how it
ended.  Where it hangs, the caller's time limit ends it.
"""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import warnings

CELLS = {}  # name: Cell
GROUPS = ('pools', 'queues', 'locks', 'pickling', 'elsewhere', 'ends', 'systems')
MARK = 'CELL ENDED: '


class Cell:

    def __init__(self, subject, trouble, function, gives, raises):
        self.name, self.subject, self.trouble = function.__name__, subject, trouble
        self.function, self.gives, self.raises = function, gives, raises

    def judge(self, said):
        """'right', or what it did instead."""
        kind, _, rest = said.partition(' ')
        if kind == 'raised':
            name = rest.partition(':')[0]
            return 'right' if name == self.raises else f'raised {name}'
        return 'right' if self.raises is None and rest == repr(self.gives) else f'gave {rest}'


def cell(subject, trouble, gives=None, raises=None):
    def register(function):
        assert function.__name__ not in CELLS, function.__name__
        CELLS[function.__name__] = Cell(subject, trouble, function, gives, raises)
        return function
    return register


def load():
    for group in GROUPS:
        importlib.import_module(group)
    return CELLS


# ---- What cells have in common ------------------------------------------------------------------


def square(x):
    return x * x


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def stop(*_):
    os.kill(os.getpid(), signal.SIGSTOP)


def until(condition):
    while not condition():
        time.sleep(0.001)


def state_of(pid):
    """As in /proc: R, S, T ...; X: it is gone."""
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0]
    except OSError:
        return 'X'


def gone(pid):
    return state_of(pid) in 'XZ'


def asleep(pid):
    until(lambda: state_of(pid) == 'S')


@contextlib.contextmanager
def goes_on(pool):
    """The pool works afterwards, however the block ended."""
    try:
        yield
    finally:
        if pool.map(square, [1, 2, 3]) != [1, 4, 9]:
            raise AssertionError('the pool has not gone on')


def started(mp, target, *args, **keywords):
    process = mp.Process(target=target, args=args, **keywords)
    process.start()
    return process


def killed(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def _call_for_ever(operation, count):
    while True:
        operation()
        count.value += 1


def killed_somewhere_in(mp, operation, times=20):
    """Children that call it for ever, each killed at some place."""
    count = mp.RawValue('Q', 0)
    for n in range(times):
        before = count.value
        process = started(mp, _call_for_ever, operation, count)
        until(lambda: count.value > before + 3 + n)
        killed(process)


def _call_ready(function, ready, args):
    ready.set()
    function(*args)


def asleep_in(mp, function, *args):
    """A child that waits in the call."""
    ready = mp.Event()
    process = started(mp, _call_ready, function, ready, args)
    ready.wait()
    asleep(process.pid)
    return process


def python(source, library, **keywords):
    """A program of its own, in a process group of its own, that has imported `mp`."""
    source = (f'import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n'
              f'from cell import *; mp = library({library!r})\n{source}')
    return subprocess.Popen([sys.executable, '-c', source], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, process_group=0, **keywords)


def library(name):
    module = importlib.import_module(name)
    # a context has no locks of its own; `of` is what cells that start programs pass on
    context = module.get_context('fork')
    context.of = name
    return context


def text_of(error):
    return f'{type(error).__name__}: {error}'.replace('\n', ' ')


def main():
    # ignored, where a shell has started the table in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter('ignore')
    load()
    mp = library(sys.argv[1])
    try:
        said = 'gave ' + repr(CELLS[sys.argv[2]].function(mp))
    except BaseException as e:
        said = 'raised ' + text_of(e)
    print('\n' + MARK + said, flush=True)


if __name__ == '__main__':
    from cell import main  # the module that the cells import, not a second one
    main()
