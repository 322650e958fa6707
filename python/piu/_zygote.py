"""The start method "forkserver": children come from the zygote, a small process of ours.

    starter --request--> [socket] <--waits-- spare ==> child        the spare that took it
       ^                                       |
       |                                       `--"taken"--> zygote --fork--> the next spare
       `--------- its pid; how it ended ----------------------'

The zygote (_zygote_main.py) is a fresh interpreter that has imported what children need, and always
has one child forked in advance: a start waits for no fork, and nothing of the starter, whatever it
has grown to, is copied for it (make bench-python ONLY=forkserver).  The socket has one end for all
who may ask, the starter and its children, and one that the zygote and the spare have: when nobody
is left who may ask, they end.  A request is one message, the child's end of a socket of its own and
the descriptors that the child gets.  Over that socket come preparation and process one way, records
the other way.

A zygote that was killed: the next start finds the socket closed, and starts another.  Its
children live on, and tell themselves how they end, if they can: one that is killed is known to
have ended, and its exit code is 255.
"""

import contextlib
import errno
import io
import os
import pickle
import signal
import socket
import struct
import threading
from multiprocessing import (
    connection, context, forkserver, popen_forkserver, reduction, resource_tracker, spawn, util)

from . import _piu, _start

RECORD = struct.Struct('qq')  # pid, exit code
ALIVE = 1 << 32               # instead of the exit code: it begins
FDS_MAX = 253                 # in a message: SCM_MAX_FD of the kernel
FDS_OWN = 3                   # of them are ours

# multiprocessing first, as from the stdlib's command lines: something may be done at its import
COMMAND = ('import sys; sys.path.append(%r); import multiprocessing; '
           'from piu._zygote_main import main; main(%d, %d, %d, %d)')
PREPARATION = ('sys_path', 'sys_argv', 'orig_dir', 'start_method', 'init_main_from_name',
               'init_main_from_path')


def sockets(kind=socket.SOCK_STREAM):
    """A pair that waits for ever, whatever socket.setdefaulttimeout() was told."""
    pair = socket.socketpair(socket.AF_UNIX, kind)
    for one in pair:
        one.settimeout(None)
    return pair


def as_socket(descriptor, kind=socket.SOCK_STREAM):
    result = socket.socket(socket.AF_UNIX, kind, 0, descriptor)
    result.settimeout(None)
    return result


def tracker():
    """Its descriptor.  Whether it lives is seen by who wants something of it: to ask it now would
    wake it at each start."""
    descriptor = resource_tracker._resource_tracker._fd
    return resource_tracker.getfd() if descriptor is None else descriptor


class Zygote:
    """Where requests go; children ask the same one."""

    def __init__(self):
        self.socket = None
        self.pid = self.starter = 0
        self.renew_lock()

    def renew_lock(self):
        self.lock = threading.RLock()  # a signal's handler may come upon it

    def start(self):
        """Start one, in place of the last."""
        if self.starter == os.getpid():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
        last = self.socket
        ours, server = sockets(socket.SOCK_SEQPACKET)
        text, family = _piu._family()
        with server, open(os.memfd_create('zygote'), 'w+b') as setup:
            pickle.dump(self.setup(text), setup)
            setup.seek(0)
            descriptors = [server.fileno(), setup.fileno(), family, resource_tracker.getfd()]
            program = spawn.get_executable()
            if self.socket is not last:  # a handler that came meanwhile has started one
                return
            pid = util.spawnv_passfds(
                program, [program, *util._args_from_interpreter_flags(), '-c',
                          COMMAND % (_start.PLACE, *descriptors)], descriptors)
        self.socket, self.pid, self.starter = ours, pid, os.getpid()

    def setup(self, family):
        """What it is told first."""
        preparation = _start.stock_preparation_data('zygote')
        return {
            'family': family,
            'installed': _start._state['installed'],
            'preparation': {key: preparation[key] for key in PREPARATION if key in preparation},
            'preload': forkserver._forkserver._preload_modules,
        }

    def request(self, descriptors):
        """(pid, socket) of a new child."""
        if len(descriptors) + FDS_OWN > FDS_MAX:
            raise ValueError('too many fds')
        with self.lock:
            if self.socket is None:
                self.start()
            child = self.ask(descriptors)
            if child is None:
                self.start()
                child = self.ask(descriptors)
        if child is None:
            raise ChildProcessError('the process that forks the children (start method forkserver) '
                                    'has ended twice before it made this one')
        return child

    def ask(self, descriptors):
        """The same; None: the zygote has ended, and made no child that runs."""
        ours, theirs = sockets()
        with theirs:
            try:
                socket.send_fds(self.socket, [b'!'], [
                    theirs.fileno(), self.socket.fileno(), tracker(), *descriptors])
            except (BrokenPipeError, ConnectionResetError):
                return ours.close()
        record = read_record(ours)
        return (record[0], ours) if record else ours.close()


zygote = Zygote()
os.register_at_fork(after_in_child=zygote.renew_lock)


def read_record(link, flags=0):
    """(pid, exit code or ALIVE); None: there is nobody who would tell."""
    try:
        record = link.recv(RECORD.size, socket.MSG_WAITALL | flags)
    except ConnectionResetError:
        return None
    return RECORD.unpack(record) if len(record) == RECORD.size else None


class Popen(popen_forkserver.Popen):
    """The sentinel is the socket: readable when the child has ended."""

    def _launch(self, process_obj):
        data = io.BytesIO()
        preparation = _start.stock_preparation_data(process_obj._name)
        if _start._state['installed']:
            preparation = {'piu': _start.Installed(), **preparation}
        self._piu_family = None  # nothing goes before a handle: the child is of the family
        context.set_spawning_popen(self)
        try:
            reduction.dump(preparation, data)
            reduction.dump(process_obj, data)
        finally:
            context.set_spawning_popen(None)
        self.pid, self._link = zygote.request(self._fds)
        self.sentinel = self._link.fileno()
        self.finalizer = util.Finalize(self, self._link.close)
        self._link.sendall(data.getbuffer())

    def poll(self, flag=os.WNOHANG):
        if self.returncode is None:
            if not connection.wait([self.sentinel], 0 if flag == os.WNOHANG else None):
                return None
            # it stays there: several threads may come to read it
            record = read_record(self._link, socket.MSG_PEEK)
            self.returncode = record[1] if record else 255
        return self.returncode

    def _send_signal(self, sig):
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError as e:
            if e.errno not in (errno.ESRCH, errno.EINVAL):  # EINVAL: a thread of others has it now
                self._send_without_pidfd(sig)
            return
        try:
            # until its end is told the pid is its own, and so it was when that was opened
            if self.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, sig)
        finally:
            os.close(pidfd)

    def _send_without_pidfd(self, sig):
        if self.poll() is None:
            super()._send_signal(sig)
