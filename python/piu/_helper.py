"""The one helper thread of a process: it leads the pools whose caller is elsewhere.

It begins with the first *_async or imap call, and blocks all signals.  Before every fork it ends,
after it it begins again in the parent, so that a child has no copy of what it was just doing.
"""

import os
import select
import signal
import threading
import time
from multiprocessing import util

from ._light import traceback

LOOK = 0.5  # seconds between two looks, where nothing tells that something happened
GRACE = 0.001  # seconds that it leaves to the caller of *_async, who most often waits next
PARK = 1.0  # seconds that a fork, or the end, waits for it


def without_signals(call, *args):
    """call(*args), while no signal is delivered to this thread."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())  # first: what blocks them may raise
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        call(*args)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def quiet_thread(target, args=(), name=None):
    """A daemon thread, to be started without signals: none is delivered to it."""
    return threading.Thread(target=target, args=args, daemon=True, name=name)


class _Helper:

    def __init__(self):
        self.lock = threading.RLock()
        self.forking = threading.RLock()  # held from park() to unpark()
        self.inner = 0  # forks, by a signal's handler, within the one that has `forking`
        self.had_lock = False  # who forks: a signal's handler, say, that came in add()
        self.engines = {}  # by descriptor
        self.thread = None
        self.ended = False  # the interpreter ends
        self.epoll = None
        self.calling = False  # it is in a callback, which may last
        self.noted = False  # somebody has submitted: it is awake, or about to be

    # -- for engines

    def add(self, engine):
        """False: there is no helper any more."""
        with self.lock:
            fd = engine.tasks.fileno()
            if self.engines.get(fd) is not engine:
                if self.ended:
                    return False
                self._open()
                self.engines[fd] = engine
                self.epoll.register(fd, select.EPOLLIN)
            return self._begin()

    def remove(self, engine):
        with self.lock:
            fd = engine.tasks.fileno()
            if self.engines.get(fd) is engine:
                del self.engines[fd]
                self._forget(fd)

    def rest(self, engine):
        """Another thread leads it: what happens there is not the helper's."""
        with self.lock:
            if not engine.rested and engine.tasks.fileno() in self.engines:
                engine.rested = True
                self._forget(engine.tasks.fileno())

    def resume(self, engine):
        with self.lock:
            if engine.rested:
                engine.rested = False
                if engine.tasks.fileno() in self.engines:
                    self.epoll.register(engine.tasks.fileno(), select.EPOLLIN)
        self.wake()

    def wake(self):
        if self.epoll is not None:
            os.eventfd_write(self.bell, 1)

    def note(self):
        """Something was submitted for which nobody waits yet."""
        if not self.noted:
            self.noted = True
            self.wake()

    def call(self, function):
        """By the helper, which outlives what a callback raises: sys.exit() there ends nothing."""
        outer, self.calling = self.calling, True  # a callback may wait, and so run others
        try:
            function()
        except BaseException:
            traceback.print_exc()
        finally:
            self.calling = outer

    def is_current(self):
        return self.thread is threading.current_thread()

    def is_alive(self):
        return self.thread is not None

    # -- the thread

    def _open(self):
        if self.epoll is None:
            self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self.epoll = select.epoll()
            self.epoll.register(self.bell, select.EPOLLIN)

    def _forget(self, fd):
        try:
            self.epoll.unregister(fd)
        except (FileNotFoundError, ValueError):
            pass  # it rests, or is closed

    def _begin(self):
        if self.thread is None and not self.ended:
            self.parking = False
            thread = self.thread = quiet_thread(self._run, name='piu helper')
            try:
                without_signals(thread.start)
            except RuntimeError:  # the interpreter ends: whoever waits leads
                self.thread, self.ended = None, True
            except BaseException:  # a signal's, that waited: mostly the thread has begun
                if not thread.is_alive():
                    self.thread = None
                raise
        return self.thread is not None

    def _run(self):
        while not self.parking and self.is_current():
            self.noted = False
            for engine in list(self.engines.values()):
                try:
                    if not engine.serve():
                        self.remove(engine)
                except BaseException:  # a result's class may raise SystemExit where it is unpickled
                    traceback.print_exc()
                    time.sleep(LOOK)  # what fails once may fail for ever
            if not self.parking and not any(e.arm() for e in list(self.engines.values())):
                self._sleep(LOOK)
            if self.noted:
                self._sleep(GRACE)

    def _sleep(self, timeout):
        self.epoll.poll(timeout)
        try:
            os.eventfd_read(self.bell)
        except BlockingIOError:
            pass

    # -- forks, and the end

    def park(self):
        """A signal's handler that forks within a fork comes upon any line here, also its child."""
        lock, forking = self.lock, self.forking
        if self.is_current():
            return
        if forking._is_owned():
            self.inner += 1
            return
        forking.acquire()
        self.inner = 0
        self.had_lock = lock._is_owned()
        thread = self.thread
        if thread is None or self.calling or self.had_lock:
            return
        if not lock.acquire(timeout=PARK):
            return
        self.parking = True
        self.wake()
        lock.release()
        thread.join(PARK)
        lock.acquire()
        if self.thread is thread and not thread.is_alive():
            self.thread = None

    def unpark(self, last=False):
        """Called twice: a signal may cut it off, of which the fork knows nothing."""
        if not self.forking._is_owned():  # the helper's own fork, or the first call has done it
            return
        if self.inner:
            self.inner -= last
            return
        try:
            self._go_on()
            last = True
        finally:
            if last:
                self.forking.release()

    def _go_on(self):
        """Whatever park() has done: a signal may have cut it off, too."""
        self.parking = self.ended
        if self.thread is not None and not self.thread.is_alive():
            self.thread = None
        if self.engines:
            self._begin()
        if self.lock._is_owned() and not self.had_lock:
            self.lock.release()

    def end(self):
        """The interpreter has waited for threads, which may use pools: no callbacks after that."""
        thread, self.ended, self.parking = self.thread, True, True
        if thread is not None and not self.calling:
            self.wake()
            thread.join(PARK)
            if not thread.is_alive():
                self.thread = None


helper = _Helper()


def _in_child():
    """What the helper had is the parent's; also the locks that it may have held."""
    if helper.epoll is not None:
        helper.epoll.close()
        os.close(helper.bell)
    helper.__init__()


os.register_at_fork(before=lambda: helper.park(), after_in_parent=lambda: helper.unpark(),
                    after_in_child=_in_child)
os.register_at_fork(after_in_parent=lambda: helper.unpark(last=True))
util.Finalize(None, lambda: helper.end(), exitpriority=0)  # after the pools, which end at 15
