"""What is known of workers that ended: with a task (WorkerLost), or before any."""

import os
import signal
from functools import lru_cache

from . import _piu
from ._failures import repr_of
from ._light import pool as stock
from ._worker import INTERRUPTED

MOST = 60  # characters of arguments


def how_ended(w, oom=None):
    code = w.exitcode
    if code is not None and code < 0:
        killer = ''
        if oom is not None and -code == signal.SIGKILL:
            killer = ' (the OOM killer)' if oom else ' (not by the OOM killer)'
        named = -code in set(signal.Signals)  # most real-time signals are not
        return f'was killed by {signal.Signals(-code).name if named else f"signal {-code}"}{killer}'
    return f'ended with exit code {code}{" (Ctrl-C)" if code == INTERRUPTED else ""}'


def short(value):
    text = repr_of(value)
    return text if len(text) <= MOST else text[:MOST - 3] + '...'


def called(task):
    """(function, arguments, keywords) as the user gave them: a chunk of imap calls a helper."""
    _, function, args, kwds = task
    if function is stock.mapstar:
        (function, args), = args
    return function, args, kwds


def name_of(function):
    try:
        return getattr(function, '__qualname__', None) or short(function)
    except Exception:  # of a __getattr__
        return short(function)


def place_of(result, i, task):
    """Which part of the user's call this task is, as Python counts."""
    kind, function, args, _ = task
    if isinstance(result, stock.MapResult):
        first, count = i * result._chunksize, len(args)
        items = f'item {first}' if count == 1 else f'items[{first}:{first + count}]'
        return f'{items} of {"starmap" if kind == _piu.TASK_STARMAP else "map"}()'
    if isinstance(result, stock.IMapIterator):
        unordered = '_unordered' if isinstance(result, stock.IMapUnorderedIterator) else ''
        return f'{"chunk" if function is stock.mapstar else "item"} {i} of imap{unordered}()'
    return 'the call of apply()'


def lost(w, result, i, task, oom):
    """For the task that this worker had begun.  oom: None where it cannot be told."""
    function, args, kwds = called(task)
    error = _piu.WorkerLost(
        f'{place_of(result, i, task)}, {name_of(function)} of '
        f'{short(args)}{short(kwds) if kwds else ""}, is lost: its worker {w.name}, pid {w.pid}, '
        f'{how_ended(w, oom)}')
    error.task, error.function, error.arguments = (result._job, i), function, short(args)
    error.pid, error.exitcode, error.oom = w.pid, w.exitcode, oom
    return error


def none_began(deaths, seconds, w, cause):
    """The pool's error.  w: the last worker; cause: what the initializer raised in one; None."""
    why = ('does the initializer fail?' if cause is None else
           f'the initializer raised {short(cause)}')
    error = RuntimeError(
        f'pool is broken: {deaths} workers ended in {seconds:.0f} s without having done a task, '
        f'the last one {how_ended(w)}; {why}')
    error.__cause__ = cause
    return error


# ---- The OOM killer: the cgroup counts its kills -----------------------------------------


@lru_cache(maxsize=1)
def _counter_path():
    """The file with a line `oom_kill N` for this process's memory cgroup, v2 or v1; None."""
    try:
        cgroups = os.fsdecode(_read('/proc/self/cgroup'))
    except OSError:
        return None
    for line in cgroups.splitlines():
        _, controllers, path = line.split(':', 2)
        if controllers == '':
            found = f'/sys/fs/cgroup{path}/memory.events'
        elif 'memory' in controllers.split(','):
            found = f'/sys/fs/cgroup/memory{path}/memory.oom_control'
        else:
            continue
        if os.path.exists(found):
            return found
    return None


def _read(path):
    with open(path, 'rb', buffering=0) as file:
        return file.read()


def oom_kills():
    """How many kills so far; None: it cannot be told."""
    path = _counter_path()
    try:
        for line in _read(path).splitlines() if path else ():
            name, _, count = line.partition(b' ')
            if name == b'oom_kill':
                return int(count)
    except (OSError, ValueError):
        pass
    return None
