"""Children that are killed after so many machine steps: at each place of a C function."""

import ctypes
import os
import signal

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p
_TRACEME, _SINGLESTEP = 0, 9
_UNTRACED = 3  # exit code: tracing is not allowed here

_traced = False  # this process is a child of killed_after()


def begin():
    """From here on the steps of the child count; elsewhere: nothing."""
    if _traced:
        os.kill(os.getpid(), signal.SIGSTOP)


def _run(function):
    global _traced
    _traced = True
    if _libc.ptrace(_TRACEME, 0, None, None) < 0:
        os._exit(_UNTRACED)
    function()
    os._exit(0)


def killed_after(steps, function):
    """Calls it in a forked child.  False: it ended before."""
    pid = os.fork()
    if pid == 0:
        _run(function)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        raise PermissionError if os.WEXITSTATUS(status) == _UNTRACED else AssertionError(status)
    for _ in range(steps):
        _libc.ptrace(_SINGLESTEP, pid, None, None)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            return False
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True
