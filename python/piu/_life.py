"""Processes that end with their starter: workers of a pool, and daemons.

The kernel kills them when the starter ends, in any way, busy or not: their parent sentinel, a pipe
whose write end the starter holds, sends SIGKILL when it is closed.
"""

import fcntl
import os
import select
import signal
from multiprocessing import process

WORKER = 'piu_worker'  # in the _config of a worker, and of what descends from it


class StartsInWorkers:
    """start() of a process: a worker of a pool is a daemon, and may have children even so."""

    def start(self):
        config = process.current_process()._config
        if not config.get(WORKER):
            return super().start()
        was, config['daemon'] = config.get('daemon'), False
        try:
            super().start()
        finally:
            config['daemon'] = was


def begin_worker():
    """This process is a worker of a pool from now on."""
    process.current_process()._config[WORKER] = True
    end_with_starter()


def begin_child(is_ours):
    """In a new child, before its run()."""
    child = process.current_process()
    if child.daemon and (is_ours or isinstance(child, StartsInWorkers)):
        end_with_starter()


def end_with_starter():
    starter = process.parent_process()
    if starter is None:
        return
    fcntl.fcntl(starter.sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(starter.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(starter.sentinel, fcntl.F_GETFL)
    fcntl.fcntl(starter.sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)
    poll = select.poll()
    poll.register(starter.sentinel, select.POLLIN)
    if poll.poll(0):  # it ended before that
        os.kill(os.getpid(), signal.SIGKILL)
