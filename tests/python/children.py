"""What the tests have in common: the start methods, and children that die on purpose."""

import os
import signal

METHODS = ('fork', 'spawn', 'forkserver')


def die():
    """As the OOM killer does it."""
    os.kill(os.getpid(), signal.SIGKILL)


def call(function, *args):
    """In a child: then killed."""
    function(*args)
    die()


def run(context, target, *args):
    """Start, join; the exit code."""
    process = context.Process(target=target, args=args)
    process.start()
    process.join(30)
    return process.exitcode


def wait_until_asleep(pid):
    def is_asleep():
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] == 'S'

    wait_until(is_asleep)


def wait_until(condition):
    """The limit of the test ends it."""
    import time
    while not condition():
        time.sleep(0.001)
