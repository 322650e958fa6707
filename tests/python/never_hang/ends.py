"""Ends of the parent, of the interpreter, and Ctrl-C.  Each is a program in a group of its own."""

import os
import signal

from cell import cell, gone, python, until

POOL = '''
import os, threading
def pids(pool): print(*[w.pid for w in pool._pool], flush=True)
def busy(x):
    while True: pass
'''


def pids_of(program):
    return [int(word) for word in program.stdout.readline().split()]


def ends(mp, source, signal_to_all=None):
    """The pids that it prints are gone in the end; how it ended."""
    program = python(POOL + source, mp.of)
    pids = pids_of(program)
    if signal_to_all:
        assert program.stdout.readline() == 'ready\n'
        os.killpg(program.pid, signal_to_all)
    said, _ = program.communicate()
    until(lambda: all(gone(pid) for pid in pids))
    return program.returncode, said


@cell('Pool', 'the parent killed while its workers are idle: none is left', gives='none left')
def parent_killed_idle(mp):
    ends(mp, 'pool = mp.Pool(2); pool.map(square, [1, 2]); pids(pool); die()')
    return 'none left'


@cell('Pool', 'the parent killed while its workers compute: none is left', gives='none left')
def parent_killed_busy(mp):
    ends(mp, '''
started_ = mp.SimpleQueue()
def work(x):
    started_.put(x)
    busy(x)
pool = mp.Pool(2); pids(pool)
pool.map_async(work, [1, 2], 1)
started_.get(), started_.get()
die()''')
    return 'none left'


@cell('Process', 'the parent of a daemon killed while that computes: it is not left', gives='none left')
def parent_of_daemon_killed(mp):
    ends(mp, '''
ready = mp.Event()
def work():
    ready.set()
    busy(0)
p = started(mp, work, daemon=True); ready.wait(); print(p.pid, flush=True); die()''')
    return 'none left'


def interrupted(mp, source):
    """Ctrl-C for all of the terminal: KeyboardInterrupt at once, no worker left, a short trace."""
    code, said = ends(mp, source, signal.SIGINT)
    assert 'KeyboardInterrupt' in said, said
    assert said.count('Traceback') == 1, said
    return code


@cell('Pool.map', 'Ctrl-C', gives=-signal.SIGINT)
def ctrl_c_in_map(mp):
    return interrupted(mp, '''
started_ = mp.SimpleQueue()
def work(x):
    started_.put(x)
    busy(x)
def tell():
    started_.get(), started_.get()
    print('ready', flush=True)
pool = mp.Pool(2); pids(pool)
threading.Thread(target=tell).start()
pool.map(work, [1, 2], 1)''')


@cell('AsyncResult.get', 'Ctrl-C', gives=-signal.SIGINT)
def ctrl_c_in_result_get(mp):
    return interrupted(mp, '''
started_ = mp.SimpleQueue()
def work(x):
    started_.put(x)
    busy(x)
def tell():
    started_.get()
    print('ready', flush=True)
pool = mp.Pool(2); pids(pool)
threading.Thread(target=tell).start()
pool.apply_async(work, (1,)).get()''')


@cell('Queue.get', 'Ctrl-C', gives=-signal.SIGINT)
def ctrl_c_in_queue_get(mp):
    return interrupted(mp, '''
def tell():
    asleep(os.getpid())
    print('ready', flush=True)
print('', flush=True)
threading.Thread(target=tell).start()
mp.Queue().get()''')


@cell('Pool.join', 'Ctrl-C', gives=-signal.SIGINT)
def ctrl_c_in_join(mp):
    return interrupted(mp, '''
started_ = mp.SimpleQueue()
def work(x):
    started_.put(x)
    busy(x)
def tell():
    started_.get()
    print('ready', flush=True)
pool = mp.Pool(2); pids(pool)
threading.Thread(target=tell).start()
pool.apply_async(work, (1,))
pool.close()
pool.join()''')


@cell('Process.join', 'Ctrl-C', gives=-signal.SIGINT)
def ctrl_c_in_process_join(mp):
    return interrupted(mp, '''
import signal
def work():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ready.set()
    busy(0)
def tell():
    ready.wait()
    print('ready', flush=True)
ready = mp.Event()
p = started(mp, work); print(p.pid, flush=True)
threading.Thread(target=tell).start()
p.join()''')


@cell('Pool', 'Ctrl-C while the helper runs a callback', gives=-signal.SIGINT)
def ctrl_c_in_callback(mp):
    return interrupted(mp, '''
def callback(_):
    print('ready', flush=True)
    threading.Event().wait()
pool = mp.Pool(2); pids(pool)
pool.apply_async(square, (1,), callback=callback).get()''')


@cell('Pool', 'the interpreter ends with a running pool', gives=0)
def exit_with_running_pool(mp):
    return ends(mp, '''
pool = mp.Pool(2); pool.map(square, [1]); pids(pool)
pool.map_async(busy, [1, 2], 1)''')[0]


@cell('Pool', 'the interpreter ends while a callback waits', gives=0)
def exit_with_blocked_callback(mp):
    return ends(mp, '''
begun = threading.Event()
pool = mp.Pool(2); pids(pool)
pool.apply_async(square, (1,), callback=lambda _: (begun.set(), threading.Event().wait()))
begun.wait()''')[0]


@cell('Pool', 'a pool made and used by an atexit handler', gives=(0, '[1, 4]\n'))
def pool_in_atexit(mp):
    return ends(mp, '''
import atexit
def use():
    with mp.Pool(2) as pool:
        print(pool.map(square, [1, 2]))
atexit.register(use)
print('', flush=True)''')


@cell('Pool', 'apply_async in an atexit handler', gives=(0, '4\n'))
def apply_async_in_atexit(mp):
    return ends(mp, '''
import atexit
pool = mp.Pool(2); pids(pool)
pool.apply_async(square, (1,)).get()
atexit.register(lambda: print(pool.apply_async(square, (2,)).get(5)))''')


@cell('Queue', 'the interpreter ends with a non-empty queue', gives=0)
def exit_with_full_queue(mp):
    return ends(mp, '''
q = mp.Queue()
q.put(bytes(10 << 20))
print('', flush=True)''')[0]


@cell('Queue', 'a child ends with a non-empty queue of its parent', gives=0)
def child_exit_with_full_queue(mp):
    return ends(mp, '''
q = mp.Queue()
p = started(mp, q.put, bytes(10 << 20)); print(p.pid, flush=True)
p.join()''')[0]


@cell('Queue', 'put and get by an atexit handler', gives=(0, '1\n'))
def queue_in_atexit(mp):
    return ends(mp, '''
import atexit
q = mp.Queue()
atexit.register(lambda: (q.put(1), print(q.get())))
print('', flush=True)''')


@cell('Lock', 'the interpreter ends with it held, and a child that waits for it', gives=0)
def exit_with_held_lock(mp):
    return ends(mp, '''
lock = mp.Lock(); lock.acquire()
p = asleep_in(mp, lock.acquire, True, 0.5); print(p.pid, flush=True)''')[0]
