"""What runs in a worker of a Pool."""

import signal

from . import _life
from ._failures import Failure, failed, failed_bare, unsendable

INTERRUPTED = 128 + signal.SIGINT  # exit code after Ctrl-C, as shells have it


def worker(tasks, slot, initializer, initargs, maxtasks, wrap, mask):
    """Until there are no more tasks, or `maxtasks` are done."""
    try:
        # who forked it had all signals blocked: the first Ctrl-C comes here
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _life.begin_worker()
        if initializer is not None:
            initialize(tasks, slot, initializer, initargs)
        tasks.work(slot, maxtasks or 0, failed if wrap else failed_bare, unsendable)
    except KeyboardInterrupt:  # Ctrl-C is for the whole terminal: the pool's process tells of it
        raise SystemExit(INTERRUPTED) from None


def initialize(tasks, slot, initializer, initargs):
    """What it raises ends the worker; the pool tells it, if no worker can begin."""
    try:
        initializer(*initargs)
    except Exception as error:
        tasks.tell(slot, Failure(error))
        raise
