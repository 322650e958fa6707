"""Forks by others, signals, limits, and what a kernel may refuse."""

import ctypes
import os
import resource
import signal
import struct
import threading

from cell import cell, goes_on, square, started


def in_fork(function):
    """By os.fork(), as third parties do it; the exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if function() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def while_held(lock):
    """Another thread takes and releases it all the time."""
    end = threading.Event()

    def hold():
        while not end.is_set():
            with lock:
                pass

    thread = threading.Thread(target=hold)
    thread.start()

    def stop():
        end.set()
        thread.join()
    return stop


LOCKS = {'Lock': 'Lock', 'RLock': 'RLock', 'Semaphore': 'Semaphore', 'Condition': 'Condition'}


def with_free(lock):
    """The child's copy of the holder does not run on, and so the thread's hold is the parent's."""
    with lock:
        return True


for kind in LOCKS:
    def fork_while_held(mp, kind=kind):
        lock = getattr(mp, kind)()
        stop = while_held(lock)
        codes = {in_fork(lambda: with_free(lock)) for _ in range(20)}
        stop()
        return codes
    fork_while_held.__name__ = f'fork_while_{kind.lower()}_is_held'
    cell(kind, 'os.fork() while another thread holds it', gives={0})(fork_while_held)

    def double_fork_while_held(mp, kind=kind):
        lock = getattr(mp, kind)()
        stop = while_held(lock)
        codes = {in_fork(lambda: in_fork(lambda: with_free(lock)) == 0) for _ in range(20)}
        stop()
        return codes
    double_fork_while_held.__name__ = f'double_fork_while_{kind.lower()}_is_held'
    cell(kind, 'double fork while another thread holds it', gives={0})(double_fork_while_held)


@cell('Queue', 'os.fork() while another thread puts and gets', gives={0})
def fork_while_queue_is_used(mp):
    q, end = mp.Queue(), threading.Event()

    def use():
        while not end.is_set():
            q.put(1)
            q.get()

    thread = threading.Thread(target=use)
    thread.start()
    codes = {in_fork(lambda: q.put('child') or True) for _ in range(20)}
    end.set()
    while thread.is_alive():  # it may have got the message of a child, another gets its own
        q.put(1)
        thread.join(0.01)
    return codes


@cell('Pool', 'os.fork() while the helper is at work', gives={0})
def fork_while_helper_works(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        codes = set()
        for _ in range(20):
            results = [pool.apply_async(square, (x,)) for x in range(20)]
            codes.add(in_fork(lambda: pool_refuses(pool)))
            assert [r.get() for r in results] == [x * x for x in range(20)]
        return codes


def pool_refuses(pool):
    try:
        pool.apply_async(square, (1,))
    except RuntimeError:
        return True


@cell('Pool', 'a child made by os.fork() has a pool of its own', gives={0})
def pool_in_child_of_fork(mp):
    def use():
        with mp.Pool(2) as own:
            return own.apply_async(square, (3,)).get() == 9

    with mp.Pool(2) as pool, goes_on(pool):
        pool.apply_async(square, (3,)).get()
        return {in_fork(use) for _ in range(3)}


@cell('Pool', 'a process with threads starts it', gives=[0, 1, 4])
def pool_from_threaded_process(mp):
    end = threading.Event()
    threads = [threading.Thread(target=lambda: [None for _ in iter(end.is_set, True)])
               for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        with mp.Pool(2) as pool, goes_on(pool):
            return pool.map(square, range(3))
    finally:
        end.set()


@cell('Pool', 'SIGCHLD ignored', gives=[0, 1, 4])
def pool_sigchld_ignored(mp):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with mp.Pool(2) as pool, goes_on(pool):
        return pool.map(square, range(3))


@cell('Pool', 'SIGCHLD ignored, and a worker killed in a task', raises='WorkerLost')
def pool_sigchld_ignored_killed(mp):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with mp.Pool(2) as pool, goes_on(pool):
        pool.apply(os.kill, (0, 0))
        pool.apply(kill_oneself)


def kill_oneself():
    os.kill(os.getpid(), signal.SIGKILL)


@cell('Pool', 'children reaped by others, and a worker killed in a task', raises='WorkerLost')
def pool_reaped_by_others(mp):
    def reap():
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                if end.wait(0.001):
                    return

    end = threading.Event()
    thread = threading.Thread(target=reap, daemon=True)
    with mp.Pool(2) as pool, goes_on(pool):
        thread.start()
        pool.apply(kill_oneself)


@cell('Process', 'children reaped by others: join returns', gives='joined')
def process_reaped_by_others(mp):
    child = started(mp, square, 3)
    os.waitpid(child.pid, 0)
    child.join()
    return 'joined'


@cell('Process', 'SIGCHLD ignored: join returns', gives='joined')
def process_sigchld_ignored(mp):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    started(mp, square, 3).join()
    return 'joined'


# ---- Limits ------------------------------------------------------------------------------------------


def limit_memory(mb):
    with open('/proc/self/statm') as file:
        now = int(file.read().split()[0]) * os.sysconf('SC_PAGE_SIZE')
    resource.setrlimit(resource.RLIMIT_AS, (now + (mb << 20),) * 2)


@cell('Pool', 'RLIMIT_AS of 2 GB more than it has', gives=[0, 1, 4])
def pool_with_some_memory(mp):
    limit_memory(2048)
    with mp.Pool(2) as pool, goes_on(pool):
        return pool.map(square, range(3))


@cell('Pool', 'RLIMIT_AS of 256 MB more: no room for the arena', raises='MemoryError')
def pool_with_little_memory(mp):
    limit_memory(256)
    with mp.Pool(2) as pool, goes_on(pool):
        return pool.map(square, range(3))


@cell('Pool', 'RLIMIT_AS: a task that needs more', raises='MemoryError')
def pool_task_needs_more(mp):
    with mp.Pool(2, limit_memory, (64,)) as pool, goes_on(pool):
        pool.apply(bytes, (1 << 30,))


@cell('Pool', 'RLIMIT_AS: an argument for which there is no room', raises='MemoryError')
def pool_argument_needs_more(mp):
    data = bytes(100 << 20)
    with mp.Pool(1) as pool, goes_on(pool):
        pool.apply(square, (3,))
        limit_memory(32)
        big = [data[1:]] and None  # MemoryError here is as good
        pool.apply(len, (data, big))


@cell('Queue', 'RLIMIT_AS: a message for which its getter has no room', raises='MemoryError')
def queue_message_needs_more(mp):
    q = mp.Queue()
    child = started(mp, q.put, bytes(100 << 20))
    child.join()
    limit_memory(32)
    q.get()


@cell('Pool', 'no processes left (RLIMIT_NPROC) when a worker is to be replaced', gives='done or refused')
def pool_no_processes(mp):
    with mp.Pool(2) as pool:
        pool.map(square, range(3))
        if os.geteuid() == 0:
            return 'done or refused'  # root has no such limit
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        for worker in list(pool._pool):
            os.kill(worker.pid, signal.SIGKILL)
        try:
            pool.map(square, range(3))
        except (OSError, RuntimeError):
            pass
        return 'done or refused'


@cell('Pool', 'no descriptors left (RLIMIT_NOFILE)', raises='OSError')
def pool_no_descriptors(mp):
    with open('/dev/null') as file:
        resource.setrlimit(resource.RLIMIT_NOFILE, (file.fileno() + 1,) * 2)
        mp.Pool(2)


# ---- A kernel that refuses ---------------------------------------------------------------------------

NUMBERS = {  # x86-64 and aarch64
    'pidfd': {'x86_64': [434, 424, 438], 'aarch64': [434, 424, 438]},
    'membarrier': {'x86_64': [324], 'aarch64': [283]},
}


def refuse(names):
    """Those system calls end with EPERM, as in an old container."""
    numbers = [n for name in names for n in NUMBERS[name][os.uname().machine]]
    load, equal, give = 0x20, 0x15, 0x06
    program = struct.pack('HBBI', load, 0, 0, 0)
    for n in numbers:
        program += struct.pack('HBBI', equal, 0, 1, n) + struct.pack('HBBI', give, 0, 0, 0x00050001)
    program += struct.pack('HBBI', give, 0, 0, 0x7fff0000)
    buffer = ctypes.create_string_buffer(program, len(program))
    filters = struct.pack('HxxxxxxP', len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filters, 0, 0):
        raise OSError(ctypes.get_errno(), 'seccomp')


for names in (['pidfd'], ['membarrier'], ['pidfd', 'membarrier']):
    words = 'seccomp without ' + ' or '.join(names)
    suffix = '_'.join(names)

    def pool_refused(mp, names=names):
        refuse(names)
        with mp.Pool(2) as pool, goes_on(pool):
            pool.apply(kill_oneself)
    pool_refused.__name__ = f'pool_without_{suffix}'
    # a kernel without pidfd_open is older than piu is made for: it says so at once
    error = {'raises': 'OSError'} if 'pidfd' in names else {}
    cell('Pool', words + ', a worker killed in a task', **error or {'raises': 'WorkerLost'})(pool_refused)

    def lock_refused(mp, names=names):
        refuse(names)
        lock = mp.Lock()
        started(mp, lambda: (lock.acquire(), kill_oneself())).join()
        return lock.acquire()
    lock_refused.__name__ = f'lock_without_{suffix}'
    cell('Lock', words + ', its holder killed', **error or {'gives': True})(lock_refused)

    def queue_refused(mp, names=names):
        refuse(names)
        q = mp.Queue()
        started(mp, lambda: (q.get(), kill_oneself())).kill()
        q.put(1)
        return q.qsize() >= 0
    queue_refused.__name__ = f'queue_without_{suffix}'
    cell('Queue', words + ', a getter killed', **error or {'gives': True})(queue_refused)
