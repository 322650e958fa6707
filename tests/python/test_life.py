"""Daemons and workers end with their starter, whatever other processes it has."""

import os
import select
import signal
import threading
import unittest

import children
import piu
from piu import _life

LIMIT = 20_000  # ms


def pause():
    while True:
        signal.pause()


def die_when_asleep(pid):
    """When that process sleeps."""
    children.wait_until_asleep(pid)
    children.die()


def spin(begun):
    begun.set()
    while True:
        pass


def fork():
    pid = os.fork()
    if pid == 0:
        pause()
    return pid


def start(context, daemon):
    child = context.Process(target=pause, daemon=daemon)
    child.start()
    return child.pid


def starter(method, later, pids):
    """Tell who is to end with this process, and who is not."""
    context = piu.get_context(method)
    pool, begun = context.Pool(2), context.Event()
    busy = context.Process(target=spin, args=(begun,), daemon=True)
    busy.start()
    begun.wait()
    bound = [start(context, True), busy.pid, *(w.pid for w in pool._pool)]
    pool.map(abs, range(8), 1)
    pids.send((bound, [fork() if later == 'fork' else start(context, False)]))
    pause()


def start_manager(method, pids):
    manager = piu.get_context(method).Manager()
    pids.send(manager._process.pid)
    pause()


class SeenWhileOneStarts(piu.get_context('fork').Process):
    """Its start() looks, from another thread, whether this process and a new one are daemons."""

    @staticmethod
    def _Popen(child):
        seen = []

        def look():
            seen.append(piu.current_process().daemon)
            seen.append(piu.get_context('fork').Process().daemon)

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        child.seen = seen
        return piu.get_context('fork').Process._Popen(child)


def daemons_seen_while_one_starts():
    child = SeenWhileOneStarts()
    child.start()
    child.join()
    return child.seen, child.exitcode, piu.current_process().daemon


class LifeTest(unittest.TestCase):

    def test_an_end_at_which_a_handler_raises_is_known_all_the_same(self):
        before = signal.signal(signal.SIGCHLD, signal.default_int_handler)
        try:
            for method in 'fork', 'spawn':
                child = piu.get_context(method).Process(target=die_when_asleep, args=(os.getpid(),))
                with self.subTest(method), self.assertRaises(KeyboardInterrupt):
                    child.start()
                    child.join()
                child.join()
                self.assertEqual((child.exitcode, child.is_alive()), (-signal.SIGKILL, False))
        finally:
            signal.signal(signal.SIGCHLD, before)

    def ended(self, pidfds):
        """All of them."""
        for pidfd in pidfds:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(LIMIT):
                return False
        return True

    def kill_starter(self, method, later):
        ours, theirs = piu.Pipe()
        process = piu.get_context('spawn').Process(target=starter, args=(method, later, theirs))
        process.start()
        bound, others = ([os.pidfd_open(pid) for pid in pids] for pids in ours.recv())
        process.kill()
        process.join()
        try:
            self.assertTrue(self.ended(bound), (method, later))
            for other in others:  # it runs: what it has inherited holds up nobody
                signal.pidfd_send_signal(other, 0)
        finally:
            for pidfd in bound + others:
                try:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                os.close(pidfd)

    def test_who_is_bound_ends_also_if_the_killed_starter_has_started_others_later(self):
        for method in children.METHODS:
            self.kill_starter(method, 'process')

    def test_who_is_bound_ends_also_if_the_killed_starter_has_forked_later(self):
        for method in children.METHODS:
            self.kill_starter(method, 'fork')

    def test_the_server_of_a_manager_ends_with_a_killed_starter(self):
        for method in children.METHODS:
            ours, theirs = piu.Pipe()
            process = piu.get_context('spawn').Process(target=start_manager, args=(method, theirs))
            process.start()
            server = os.pidfd_open(ours.recv())
            process.kill()
            process.join()
            try:
                self.assertTrue(self.ended([server]), method)
            finally:
                os.close(server)

    def test_a_worker_that_starts_a_child_stays_a_daemon_for_its_other_threads(self):
        with piu.get_context('fork').Pool(1) as pool:
            self.assertEqual(pool.apply(daemons_seen_while_one_starts), ([True, True], 0, True))

    def test_a_starter_that_ended_before_the_child_was_bound(self):
        self.assertEqual(children.run(piu.get_context('fork'), arm_when_nobody_is_left),
                         -signal.SIGKILL)

    def test_a_fork_leaves_nothing_of_the_life_pipe_open(self):
        with piu.Pool(1):
            ends = _life._pipe.ends
            self.assertEqual(len(ends), 2)
            pid = os.fork()
            if pid == 0:
                os._exit(any(os.path.exists(f'/proc/self/fd/{end}') for end in ends))
            self.assertEqual(os.waitpid(pid, 0)[1], 0)


def arm_when_nobody_is_left():
    bond = _life.Bond(_life._pipe.open_read_end())
    for end in _life._pipe.ends:
        os.close(end)
    bond.arm()


if __name__ == '__main__':
    unittest.main()
