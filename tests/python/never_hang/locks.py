"""A user of a lock, a condition, an event, a barrier that comes to harm."""

import os
import signal
import sys

from cell import asleep, asleep_in, cell, die, killed, killed_somewhere_in, started, state_of, stop, until


def hold_and_end(lock, how):
    lock.acquire()
    if how == 'kill':
        die()
    if how == '_exit':
        os._exit(0)
    if how == 'exit':
        sys.exit(0)
    os.execv('/bin/true', ['true'])


def hold_and_stop(lock):
    lock.acquire()
    stop()


def taken(lock):
    """Can it be acquired, and acquired again by another?"""
    with lock:
        pass
    return lock.acquire()


LOCKS = {
    'Lock': lambda mp: mp.Lock(),
    'RLock': lambda mp: mp.RLock(),
    'BoundedSemaphore': lambda mp: mp.BoundedSemaphore(1),
    'Semaphore(recover)': lambda mp: recovering(mp),
    'Condition': lambda mp: mp.Condition(),
    'Value': lambda mp: mp.Value('i').get_lock(),
}


def recovering(mp):
    """A plain semaphore gives back only what it is asked to: the stdlib has no such."""
    try:
        return mp.Semaphore(1, recover=True)
    except TypeError:
        return mp.Semaphore(1)


def of_each(trouble, gives=None, raises=None):
    def register(function):
        for kind, make in LOCKS.items():
            def run(mp, make=make):
                return function(mp, make(mp))
            run.__name__ = f'{kind.partition("(")[0].lower()}_{function.__name__}'
            cell(kind, trouble, gives=gives, raises=raises)(run)
        return function
    return register


for how, words in (('kill', 'killed'), ('_exit', 'os._exit'), ('exec', 'exec')):
    def ended_holding(mp, lock, how=how):
        started(mp, hold_and_end, lock, how).join()
        return taken(lock)
    ended_holding.__name__ = f'holder_ended_by_{how.replace("_", "os_")}'
    of_each(f'its holder: {words}', gives=True)(ended_holding)


@of_each('its holder left by sys.exit: held, as in Python', gives=False)
def holder_left(mp, lock):
    started(mp, hold_and_end, lock, 'exit').join()
    return lock.acquire(True, 0.2)


@of_each('a waiter killed inside acquire', gives=True)
def waiter_killed(mp, lock):
    lock.acquire()
    killed(asleep_in(mp, lock.acquire))
    lock.release()
    return taken(lock)


@of_each('a waiter stopped inside acquire, then killed', gives=True)
def waiter_stopped(mp, lock):
    lock.acquire()
    child = asleep_in(mp, lock.acquire)
    os.kill(child.pid, signal.SIGSTOP)
    until(lambda: state_of(child.pid) == 'T')
    lock.release()
    result = taken(lock)
    lock.release()
    killed(child)
    return result


@of_each('its holder stopped (SIGSTOP), then killed', gives=[False, True])
def holder_stopped(mp, lock):
    child = started(mp, hold_and_stop, lock)
    until(lambda: state_of(child.pid) == 'T')
    before = lock.acquire(True, 0.1)
    killed(child)
    return [before, taken(lock)]


@of_each('users killed somewhere in acquire and release', gives=True)
def killed_anywhere(mp, lock):
    killed_somewhere_in(mp, lambda: (lock.acquire(), lock.release()))
    return taken(lock)


# ---- Waiters whose notifier died -------------------------------------------------------------------


def hold_and_die_before_notify(condition):
    condition.acquire()
    die()


def notify_and_die(condition):
    with condition:
        condition.notify()
        die()


def wait_once(condition):
    with condition:
        condition.wait()


@cell('Condition', 'the notifier died before notify: the wait ends in time', gives=False)
def condition_notifier_died_before(mp):
    condition = mp.Condition()
    with condition:
        child = started(mp, hold_and_die_before_notify, condition)
        result = condition.wait_for(lambda: False, 0.3)  # it may wake up for nothing
    child.join()
    return result


@cell('Condition', 'the notifier died after notify, with the lock: the waiter gets it', gives=True)
def condition_notifier_died_after(mp):
    condition = mp.Condition()
    with condition:
        child = started(mp, notify_and_die, condition)
        result = condition.wait()
    child.join()
    return result


@cell('Condition', 'a waiter killed: the others are notified', gives=0)
def condition_other_waiter_killed(mp):
    condition = mp.Condition()
    first = asleep_in(mp, wait_once, condition)
    second = asleep_in(mp, wait_once, condition)
    killed(first)
    while second.exitcode is None:
        with condition:
            condition.notify()
        second.join(0.01)
    return second.exitcode


@cell('Event', 'the setter died before set: the wait ends in time', gives=False)
def event_setter_died(mp):
    event = mp.Event()
    started(mp, die).join()
    return event.wait(0.2)


@cell('Event', 'the setter died after set', gives=True)
def event_setter_died_after(mp):
    event = mp.Event()
    started(mp, lambda: (event.set(), die())).join()
    return event.wait()


@cell('Event', 'users killed somewhere in set and clear', gives=True)
def event_killed_anywhere(mp):
    event = mp.Event()
    killed_somewhere_in(mp, lambda: (event.set(), event.clear()))
    event.set()
    return event.wait()


@cell('Event', 'a waiter killed, a waiter stopped', gives=True)
def event_waiters(mp):
    event = mp.Event()
    killed(asleep_in(mp, event.wait))
    stopped = asleep_in(mp, event.wait)
    os.kill(stopped.pid, signal.SIGSTOP)
    until(lambda: state_of(stopped.pid) == 'T')
    event.set()
    killed(stopped)
    return event.wait()


@cell('Barrier', 'a party killed that had arrived', raises='BrokenBarrierError')
def barrier_party_killed(mp):
    barrier = mp.Barrier(2)
    killed(asleep_in(mp, barrier.wait))
    barrier.wait()


@cell('Barrier', 'a party killed while another waits', raises='BrokenBarrierError')
def barrier_party_killed_meanwhile(mp):
    barrier = mp.Barrier(3)
    victim = asleep_in(mp, barrier.wait)
    started(mp, lambda: (asleep(os.getppid()), os.kill(victim.pid, signal.SIGKILL)))
    barrier.wait()


@cell('Barrier', 'a party killed in the action', raises='BrokenBarrierError')
def barrier_party_killed_in_the_action(mp):
    barrier = mp.Barrier(2, action=die)
    started(mp, lambda: (asleep(os.getppid()), barrier.wait()))
    barrier.wait()


@cell('Barrier', 'a party stopped that never comes: the wait ends in time', raises='BrokenBarrierError')
def barrier_party_stopped(mp):
    barrier = mp.Barrier(2)
    child = started(mp, lambda: (stop(), barrier.wait()))
    until(lambda: state_of(child.pid) == 'T')
    try:
        barrier.wait(0.2)
    finally:
        killed(child)


@cell('Barrier', 'broken by a death, then reset', gives=True)
def barrier_reset(mp):
    barrier = mp.Barrier(2)
    killed(asleep_in(mp, barrier.wait))
    barrier.reset()
    started(mp, barrier.wait)
    return barrier.wait() in (0, 1)
