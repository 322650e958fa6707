"""The workers of a pool: started, watched, found ended, replaced, and ended with it."""

import contextlib
import os
import signal
import time
from collections import deque

from ._helper import LOOK, without_signals
from ._light import connection
from ._losses import none_began, oom_kills

LOOK_OFTEN = 0.05  # seconds, while a worker could not be started, or has no sentinel
KILL_AFTER = 5.0  # seconds that a worker has to end after SIGTERM
STORM = 5.0  # seconds
MOMENT = 0.0005  # seconds


def has_ended(w, patience):
    """The sentinel is ready also of one that has closed all descriptors, and lives."""
    until = time.monotonic() + patience
    with contextlib.suppress(ChildProcessError):  # another process's, or somebody reaped it
        while os.waitid(os.P_PID, w.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() >= until:
                return False
            time.sleep(MOMENT)
    return True


class Workers:
    """By who leads the engine; terminate() and kill() by anybody."""

    def __init__(self, tasks, make, count, maxtasks):
        self.tasks, self.make, self.count, self.maxtasks = tasks, make, count, maxtasks
        self.all = []
        self.closed = set()  # those that live, and have closed their end of the sentinel
        self.next_look = 0.0
        self.deaths = deque()  # times of those since the last task that was done
        self.unbegun = None  # what an initializer has raised since then
        self.oom_kills = oom_kills()

    def refill(self):
        # signals wait: in a new worker until it can take them, here until that one is known
        without_signals(self.start)

    def start(self):
        """OSError: one could not be started; it is tried again soon."""
        used = {w._piu_slot for w in self.all}
        for slot in range(self.count):
            if slot not in used and len(self.all) < self.count:
                w = self.make(self.tasks, slot)
                w._piu_slot = slot
                w.name = w.name.replace('Process', 'PoolWorker')
                w.daemon = True
                try:
                    w.start()
                except OSError:
                    self.look_later(LOOK_OFTEN)
                    raise
                except BaseException:  # a signal's, that another thread of the user's has taken
                    if getattr(w, '_popen', None) is not None:
                        self.all.append(w)
                    raise
                self.all.append(w)
                if hasattr(w, 'sentinel'):
                    self.tasks.watch(w.sentinel)

    def look_later(self, seconds=LOOK):
        self.next_look = time.monotonic() + seconds

    def ended(self):
        """Those that have, joined, one by one; each is in `all` until it is removed."""
        self.look_later()
        sentinels = {getattr(w, 'sentinel', None): w for w in self.all}
        if None in sentinels:  # a user's class may have none
            del sentinels[None]
            self.look_later(LOOK_OFTEN)
        for sentinel in connection.wait(list(sentinels), 0):
            w = sentinels[sentinel]
            with contextlib.suppress(OSError):
                self.tasks.unwatch(sentinel)
            if not has_ended(w, 0 if w in self.closed else LOOK_OFTEN):
                self.closed.add(w)
                self.look_later(LOOK_OFTEN)
                continue
            w.join()
            yield w

    def remove(self, w):
        self.all.remove(w)
        self.closed.discard(w)
        self.tasks.clear(w._piu_slot)

    def has_begun(self, number):
        return any(self.tasks.started(w._piu_slot) == number for w in self.all)

    def was_oom(self, w):
        """None: it cannot be told."""
        before, self.oom_kills = self.oom_kills, oom_kills()
        if before is None or self.oom_kills is None:
            return None
        return w.exitcode == -signal.SIGKILL and self.oom_kills > before

    # -- do they work at all?

    def did_a_task(self):
        self.deaths.clear()
        self.unbegun = None

    def died_idle(self, w):
        """The pool's error, if too many did of late, and no task was done; None."""
        if self.tasks.finished(w._piu_slot) == self.maxtasks:
            return None
        now = time.monotonic()
        self.deaths.append(now)
        while self.deaths[0] < now - STORM:
            self.deaths.popleft()
        if len(self.deaths) <= max(3, self.count):
            return None
        return none_began(len(self.deaths), STORM, w, self.unbegun)

    # -- the end

    def terminate(self):
        for w in list(self.all):  # who leads may bury one meanwhile
            if w.exitcode is None:
                w.terminate()
                # a stopped one ends only then; a user's class may have no Popen
                with contextlib.suppress(AttributeError):
                    w._popen._send_signal(signal.SIGCONT)
        deadline = time.monotonic() + KILL_AFTER
        for w in list(self.all):
            sentinel = getattr(w, 'sentinel', None)
            left = max(0, deadline - time.monotonic())
            if sentinel is not None and not (
                    connection.wait([sentinel], left) and
                    has_ended(w, max(0, deadline - time.monotonic()))):
                w.kill()
            w.join()

    def kill(self):
        for w in list(self.all):
            with contextlib.suppress(AttributeError):
                w.kill()
