"""Processes that end with their starter: workers of a pool, and daemons.

The kernel kills them when the starter ends, in any way, busy or not.  The starter has a pipe, the
life pipe, whose only write end it keeps: a child that it forks closes that at once, and a program
that it executes never has it.  Each bound child has a read end with a description of its own, which
sends it SIGKILL when the write end is closed.
"""

import fcntl
import os
import select
import signal
import sys
import threading
from multiprocessing import context, process

WORKER = 'piu_worker'  # in the _config of a worker, and of what descends from it


_starting = threading.local()  # `now`: this thread is in start()
os.register_at_fork(after_in_child=lambda: _starting.__dict__.clear())


class Config(dict):
    """Of a process that may have children though it is a daemon: a thread that starts one sees no
    daemon.  Others do meanwhile, and so does each copy: a child inherits what is so."""

    def get(self, key, default=None):
        if key == 'daemon' and getattr(_starting, 'now', False):
            return False
        return super().get(key, default)


class StartsInWorkers:
    """start() of a process: a worker of a pool is a daemon, and may have children even so."""

    def start(self):
        current = process.current_process()
        if not current._config.get(WORKER):
            return super().start()
        if not isinstance(current._config, Config):
            current._config = Config(current._config)
        _starting.now = True
        try:
            super().start()
        finally:
            _starting.now = False


def begin_worker():
    """This process is a worker of a pool from now on."""
    process.current_process()._config[WORKER] = True


def begin_child():
    """In a child by fork, before its run(); what was sent to another one has bound it."""
    bond = process.current_process().__dict__.pop('_piu_bond', None)
    if bond is not None:
        bond.arm()


def serves_manager(child):
    managers = sys.modules.get('multiprocessing.managers')
    function = getattr(getattr(child, '_target', None), '__func__', None)
    return managers is not None and function is managers.BaseManager._run_server.__func__


def is_bound(child, installed):
    """It is to end with its starter.  `_piu_slot`: a worker, of whatever class."""
    return (getattr(child, 'daemon', False) or serves_manager(child)) and (
        installed or isinstance(child, StartsInWorkers) or hasattr(child, '_piu_slot'))


class Pipe:
    """The life pipe of this process, made for its first bound child."""

    def __init__(self):
        self.begin()

    def begin(self):
        self.ends = ()
        # no fork between its making and the note of it: the child would keep the write end
        self.lock = threading.RLock()

    def open_read_end(self):
        """With a description of its own: the signal and who gets it are set there."""
        with self.lock:
            if not self.ends:
                self.ends = os.pipe2(os.O_CLOEXEC)
        return os.open(f'/proc/self/fd/{self.ends[0]}', os.O_RDONLY | os.O_NONBLOCK)

    def leave(self):
        """In a forked child."""
        for end in self.ends:
            os.close(end)
        self.begin()


_pipe = Pipe()
os.register_at_fork(before=lambda: _pipe.lock.acquire(),
                    after_in_parent=lambda: _pipe.lock.release(), after_in_child=_pipe.leave)


class Bond:
    """Of one child: `_piu_bond` of its process object while that is started."""

    def __init__(self, descriptor):
        self.descriptor = descriptor

    def __reduce__(self):
        popen = context.get_spawning_popen()
        return bind, (popen.DupFd(popen.duplicate_for_child(self.descriptor)),)

    def arm(self):
        """This process is the child.  The descriptor stays open: it is what binds."""
        fcntl.fcntl(self.descriptor, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self.descriptor, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(self.descriptor, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        if poll.poll(0):  # it ended before that
            os.kill(os.getpid(), signal.SIGKILL)


def bind(duplicate):
    """Unpickled in the child, instead of the bond."""
    Bond(duplicate.detach()).arm()


def start_bound(start, child):
    """start(), which forks or sends the process object `child`."""
    bond = Bond(_pipe.open_read_end())
    child._piu_bond = bond
    try:
        start()
    finally:
        del child._piu_bond
        os.close(bond.descriptor)
