"""A user of a queue that comes to harm: the others go on, and no message is lost."""

import os
import queue
import signal
import sys
import threading

from cell import (asleep_in, cell, die, killed, killed_somewhere_in, started, state_of, stop, until)


def put_and_end(q, how):
    q.put('message')
    if how == '_exit':
        os._exit(0)
    if how == 'exit':
        sys.exit(0)
    if how == 'kill':
        die()
    os.execv('/bin/true', ['true'])


def put_50_mb_and_die(q):
    data = bytes(50 << 20)
    go = threading.Event()

    def kill():
        go.wait()
        die()

    threading.Thread(target=kill, daemon=True).start()
    go.set()
    q.put(data)
    threading.Event().wait()  # a feeder thread's turn


def get_and_die(q):
    q.get()
    die()


def works(q):
    """One message goes through."""
    q.put('after')
    return q.get()


QUEUES = ('Queue', 'JoinableQueue', 'SimpleQueue')


def of_each(trouble, gives):
    """A cell for each kind of queue."""
    def register(function):
        for kind in QUEUES:
            def run(mp, kind=kind):
                return function(mp, getattr(mp, kind)())
            run.__name__ = f'{kind.lower()}_{function.__name__}'
            cell(kind, trouble, gives=gives)(run)
        return function
    return register


@of_each('a process killed that had not used it (idle)', gives='after')
def killed_idle(mp, q):
    killed(asleep_in(mp, signal.pause))
    return works(q)


@of_each('a getter killed inside get', gives='after')
def killed_in_get(mp, q):
    killed(asleep_in(mp, q.get))
    return works(q)


@of_each('users killed somewhere in put and get (holding the queue)', gives='after')
def killed_anywhere(mp, q):
    killed_somewhere_in(mp, lambda: (q.put(b'x' * 100), q.get()))
    while not q.empty():  # a message of a killed one
        q.get()
    return works(q)


@of_each('a putter killed inside put of 50 MB', gives='after')
def killed_in_put(mp, q):
    for _ in range(5):
        child = started(mp, put_50_mb_and_die, q)
        child.join()
    while not q.empty():  # it is in as a whole or not at all
        assert len(q.get()) == 50 << 20
    return works(q)


@of_each('a getter stopped (SIGSTOP) inside get', gives='after')
def stopped_in_get(mp, q):
    child = asleep_in(mp, q.get)
    os.kill(child.pid, signal.SIGSTOP)
    until(lambda: state_of(child.pid) == 'T')
    result = works(q)
    killed(child)
    return result


for how, words in (('_exit', 'os._exit'), ('exit', 'sys.exit'), ('exec', 'exec'), ('kill', 'SIGKILL')):
    def ended_after_put(mp, q, how=how):
        started(mp, put_and_end, q, how).join()
        return q.get()
    ended_after_put.__name__ = f'ended_after_put_by_{how.replace("_", "os_")}'
    of_each(f'{words} right after put: the message is in', gives='message')(ended_after_put)


@of_each('the reader is in a child that was killed after get', gives='second')
def killed_after_get(mp, q):
    q.put('first')
    started(mp, get_and_die, q).join()
    q.put('second')
    return q.get()


@of_each('join of a process before its messages are got', gives=10 << 20)
def joined_before_drained(mp, q):
    child = started(mp, q.put, bytes(10 << 20))
    child.join()
    return len(q.get())


@cell('Queue(1)', 'its only getter killed: put waits no longer than it shall', raises='Full')
def bounded_getter_killed(mp):
    q = mp.Queue(1)
    killed(asleep_in(mp, q.get))
    q.put(1)
    q.put(2, timeout=0.2)


@cell('Queue(1)', 'its only getter killed: a new getter gets all', gives=[0, 1, 2, 3, 4])
def bounded_getter_replaced(mp):
    q = mp.Queue(1)
    killed(asleep_in(mp, q.get))
    seen = mp.SimpleQueue()
    child = started(mp, lambda: [seen.put(q.get()) for _ in range(5)])
    for i in range(5):
        q.put(i)
    child.join()
    return [seen.get() for _ in range(5)]


@cell('Queue(1)', 'a putter killed that waits for room', gives=[1, 2])
def bounded_putter_killed(mp):
    q = mp.Queue(1)
    q.put(1)
    killed(asleep_in(mp, q.put, 'never'))
    first = q.get()
    started(mp, q.put, 2).join()
    return [first, q.get()]


@cell('JoinableQueue', 'join when a worker died between get and task_done', gives='joined')
def joinable_worker_died(mp):
    q = mp.JoinableQueue()
    q.put(1)
    started(mp, get_and_die, q).join()
    q.join()
    return 'joined'


@cell('JoinableQueue', 'the same, and another worker does the rest', gives='joined')
def joinable_worker_died_among_others(mp):
    q = mp.JoinableQueue()
    for i in range(10):
        q.put(i)
    started(mp, get_and_die, q).join()
    other = started(mp, get_and_finish_nine, q)
    q.join()
    other.join()
    return 'joined'


def get_and_finish_nine(q):
    for _ in range(9):
        q.get()
        q.task_done()


@cell('JoinableQueue', 'who waits in join is killed', gives='joined')
def joinable_joiner_killed(mp):
    q = mp.JoinableQueue()
    q.put(1)
    killed(asleep_in(mp, q.join))
    q.get()
    q.task_done()
    q.join()
    return 'joined'


@cell('Queue', 'nothing comes: get with a timeout', raises='Empty')
def queue_empty(mp):
    q = mp.Queue()
    killed(asleep_in(mp, q.get))
    try:
        q.get(timeout=0.1)
    except queue.Empty:
        raise
