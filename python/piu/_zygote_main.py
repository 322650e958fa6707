"""In the zygote, and in its spares until they are children: see _zygote.py.

    zygote   forks a spare; "taken" brings the child's socket: forks the next; tells by the
             sockets how children end
    spare    waits for a request, hands its socket on to the zygote, tells its pid: a child

A spare that ends untaken gets a successor when a request is there.
"""

import atexit
import gc
import os
import pickle
import select
import signal
import socket
import sys
from multiprocessing import (  # noqa: F401: what children need is imported here, once
    connection, forkserver, heap, popen_fork, process, queues, reduction, resource_sharer,
    resource_tracker, sharedctypes, spawn, synchronize, util)

from . import (  # noqa: F401
    _connection, _piu, pool, queues as own_queues, synchronize as own_synchronize)
from ._start import enter
from ._zygote import ALIVE, FDS_MAX, RECORD, as_socket, sockets, zygote

FAILURES_MAX = 3  # forks that failed or spares that died, in a row: a request is refused
CLOEXEC = socket.MSG_CMSG_CLOEXEC


def main(requests, setup, family, tracker):
    # the starter's mask came along: a pool's helper blocks all, SIGCHLD too
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with open(setup, 'rb') as file:
        told = pickle.load(file)
    for descriptor in requests, family, tracker:
        os.set_inheritable(descriptor, False)
    resource_tracker._resource_tracker._fd = tracker
    enter(told['family'], family, told['installed'])
    preload(told['preload'] or (), told['preparation'])
    util._close_stdin()
    util._flush_std_streams()  # or each child would print it again
    gc.collect()
    gc.freeze()  # or the first collection in each child would copy all pages
    Server(as_socket(requests, socket.SOCK_SEQPACKET)).run()
    # no handlers of exit: the preloaded modules' own are for who uses them
    _piu._leave()
    os._exit(0)


def preload(names, preparation):
    if '__main__' not in names:
        preparation = {key: value for key, value in preparation.items()
                       if not key.startswith('init_main')}
    current = process.current_process()
    current._inheriting = True
    try:
        spawn.prepare(preparation)
    except Exception:
        pass  # each child tries it again, and tells
    finally:
        del current._inheriting
    for name in names:
        try:
            __import__(name)
        except ImportError:
            pass


class Server:

    def __init__(self, requests):
        self.pid = os.getpid()
        self.requests = requests
        self.links = {}         # pid of each child: its socket
        self.spare = None       # its pid
        self.from_spare = None  # a socket
        self.failures = 0
        self.poll = select.poll()
        self.poll.register(requests, 0)  # POLLHUP: nobody is left who may ask
        self.wake, self.waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.poll.register(self.wake, select.POLLIN)
        self.handlers = {signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda *_: None),
                         signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}
        signal.set_wakeup_fd(self.waker)

    def run(self):
        self.fork_spare()
        while True:
            ready = dict(self.poll.poll())
            if self.from_spare is not None and self.from_spare.fileno() in ready:
                self.hear_spare()
            if self.wake in ready:
                self.reap()
            asked = ready.get(self.requests.fileno(), 0)
            if asked & select.POLLHUP:
                return
            if asked and self.spare is None:
                self.replace_spare()

    def fork_spare(self):
        self.from_spare, to_zygote = sockets()
        with to_zygote:
            try:
                self.spare = os.fork()
            except OSError:
                self.from_spare.close()
                return self.lack_spare()
            if self.spare == 0:
                self.be_spare(to_zygote)
        self.poll.register(self.from_spare, select.POLLIN)
        self.poll.modify(self.requests, 0)

    def lack_spare(self):
        self.spare = self.from_spare = None
        self.failures += 1
        self.poll.modify(self.requests, select.POLLIN)

    def hear_spare(self):
        """It is taken, or it has ended."""
        _, links, *_ = socket.recv_fds(self.from_spare, 1, 1, CLOEXEC)
        self.poll.unregister(self.from_spare)
        self.from_spare.close()
        if not links:
            return self.lack_spare()
        self.links[self.spare] = as_socket(links[0])
        self.failures = 0
        self.fork_spare()

    def replace_spare(self):
        if self.failures < FAILURES_MAX:
            return self.fork_spare()
        self.failures = 0
        for descriptor in receive(self.requests):
            os.close(descriptor)

    def reap(self):
        try:
            os.read(self.wake, 65536)
        except BlockingIOError:
            pass
        while True:
            try:
                # WNOWAIT: until its end was told the pid stays its own
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if ended.si_pid == self.spare:
                self.hear_spare()
            link = self.links.pop(ended.si_pid, None)
            if link is not None:
                code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                with link:
                    tell(link, ended.si_pid, code)
            os.waitpid(ended.si_pid, 0)

    # ---- In the spare ---------------------------------------------------------------------

    def be_spare(self, to_zygote):
        link, code = None, 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, self.handlers[signal.SIGCHLD])
            os.close(self.wake)
            os.close(self.waker)
            self.from_spare.close()
            for link in self.links.values():
                link.close()
            link, descriptors = self.wait_for_request(to_zygote)
            if link is None:
                code = 0
            else:
                signal.signal(signal.SIGINT, self.handlers[signal.SIGINT])
                code = be_child(link.fileno(), descriptors)
        except Exception:
            sys.excepthook(*sys.exc_info())
            util._flush_std_streams()
        finally:
            if link is not None and os.getppid() != self.pid:
                tell(link, os.getpid(), code)  # nobody else is left to do it
            os._exit(code)

    def wait_for_request(self, to_zygote):
        """(link, descriptors); (None, ()): nobody is left who may ask, or the zygote is gone."""
        poll = select.poll()
        poll.register(self.requests, select.POLLIN)
        poll.register(to_zygote, 0)
        if to_zygote.fileno() in dict(poll.poll()):
            return None, ()
        received = receive(self.requests)
        if not received:
            return None, ()
        link, asks, *descriptors = received
        # first: from now on there is somebody to tell how this process ends
        socket.send_fds(to_zygote, [b'!'], [link])
        to_zygote.close()
        self.requests.close()
        link = as_socket(link)
        tell(link, os.getpid(), ALIVE)
        zygote.socket = as_socket(asks, socket.SOCK_SEQPACKET)
        return link, descriptors


def receive(requests):
    """The descriptors of a request; []: there is none, and none will be."""
    return socket.recv_fds(requests, 1, FDS_MAX, CLOEXEC)[1]


def tell(link, pid, code):
    try:
        link.send(RECORD.pack(pid, code))
    except (BrokenPipeError, ConnectionResetError):
        pass  # who started it has ended


close_stdin = util._close_stdin


def close_stdin_once(null):
    """The child's first util._close_stdin() finds what the zygote's has left: to make that anew is
    a good part of the work before run()."""
    def close():
        util._close_stdin = close_stdin
        if sys.stdin is not null:
            close_stdin()

    util._close_stdin = close


def be_child(parent_sentinel, descriptors):
    close_stdin_once(sys.stdin)
    resource_tracker._resource_tracker._fd, *forkserver._forkserver._inherited_fds = descriptors
    if sys.version_info < (3, 13):
        return spawn._main(os.dup(parent_sentinel), parent_sentinel)
    atexit._clear()
    atexit.register(util._exit_function)
    try:
        return spawn._main(os.dup(parent_sentinel), parent_sentinel)
    finally:
        atexit._run_exitfuncs()
