"""A worker of a pool that comes to harm: the task is lost, or done; the pool goes on."""

import contextlib
import os
import signal
import sys
import threading

from cell import asleep, cell, die, goes_on, gone, square, started, state_of, stop, until


def end_by(how):
    if how == '_exit':
        os._exit(5)
    if how == 'exit':
        sys.exit(5)
    os.execv('/bin/true', ['true'])


def fail(*_):
    raise ValueError('of the initializer')


def die_in_thread(go):
    go.wait()
    die()


def give_50_mb_and_die(_):
    """Killed while the result is being put, or near."""
    data = bytes(50 << 20)
    go = threading.Event()
    threading.Thread(target=die_in_thread, args=(go,), daemon=True).start()
    go.set()
    return data


def use_50_mb_and_wait(event):
    data = bytearray(os.urandom(1 << 20) * 50)
    _inherited['ready'].set()
    _inherited['go'].wait()
    return len(data)


_inherited = {}


def pid_of(_=None):
    return os.getpid()


def stop_or_square(x):
    if x == 0:
        stop()
    return x * x


@cell('Pool', 'a worker killed in a task', raises='WorkerLost')
def pool_killed_in_task(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        pool.apply(die)


@cell('Pool', 'a worker killed in a chunk of map', raises='WorkerLost')
def pool_killed_in_map(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        pool.map(die, range(10))


@cell('Pool', 'a worker killed in one task of imap: the others', gives=[0, 1, 'WorkerLost', 9, 16])
def pool_killed_in_imap(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        results, seen = pool.imap(die_if_2, range(5)), []
        while len(seen) < 5:
            try:
                seen.append(next(results))
            except Exception as e:
                seen.append(type(e).__name__)
        return seen


def die_if_2(x):
    if x == 2:
        die()
    return x * x


@cell('Pool', 'all workers killed while idle', gives=[0, 1, 4])
def pool_killed_idle(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        pool.map(square, range(10), 1)
        for worker in list(pool._pool):
            os.kill(worker.pid, signal.SIGKILL)
            until(lambda: gone(worker.pid))
        return pool.map(square, range(3), 1)


@cell('Pool', 'workers killed inside get (they wait for tasks)', gives=81)
def pool_killed_in_get(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        pool.apply(square, (1,))
        for _ in range(5):
            worker = next(w for w in list(pool._pool) if not gone(w.pid))
            asleep(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)
            until(lambda: gone(worker.pid))
            result = pool.apply(square, (9,))
        return result


@cell('Pool', 'workers killed somewhere in take, task and put', gives='done or lost')
def pool_killed_anywhere(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        for n in range(20):
            results = [pool.apply_async(square, (x,)) for x in range(50)]
            with contextlib.suppress(ProcessLookupError):  # the last one, reaped, no new one yet
                os.kill(pool._pool[n % 2].pid, signal.SIGKILL)
            for x, result in enumerate(results):
                try:
                    assert result.get() == x * x
                except Exception as e:
                    if type(e).__name__ != 'WorkerLost':
                        raise
        return 'done or lost'


@cell('Pool', 'a worker killed inside put of 50 MB', raises='WorkerLost')
def pool_killed_in_put(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        for _ in range(5):
            pool.apply(give_50_mb_and_die, (0,))


@cell('Pool', 'workers killed in the initializer', raises='RuntimeError')
def pool_killed_in_initializer(mp):
    with mp.Pool(2, die) as pool:
        pool.map(square, [1, 2])


@cell('Pool', 'an initializer that fails', raises='RuntimeError')
def pool_initializer_fails(mp):
    with mp.Pool(2, fail) as pool:
        pool.map(square, [1, 2])


@cell('Pool', 'a worker stopped (SIGSTOP): the others go on', gives=[[1, 4, 9], 0])
def pool_stopped(mp):
    with mp.Pool(2) as pool:
        stopped = pool.apply_async(stop_or_square, (0,))
        until(lambda: any(state_of(w.pid) == 'T' for w in pool._pool))
        others = pool.map(stop_or_square, [1, 2, 3], 1)
        for worker in pool._pool:
            os.kill(worker.pid, signal.SIGCONT)
        return [others, stopped.get()]


@cell('Pool', 'terminate with a stopped worker', gives='ended')
def pool_stopped_and_terminated(mp):
    with mp.Pool(2) as pool:
        pool.apply_async(stop_or_square, (0,))
        until(lambda: any(state_of(w.pid) == 'T' for w in pool._pool))
    pool.join()
    return 'ended'


@cell('Pool', 'os._exit in a task', raises='WorkerLost')
def pool_os_exit(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        pool.apply(end_by, ('_exit',))


@cell('Pool', 'sys.exit in a task', raises='WorkerLost')
def pool_sys_exit(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        pool.apply(end_by, ('exit',))


@cell('Pool', 'exec in a task', raises='WorkerLost')
def pool_exec(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        pool.apply(end_by, ('exec',))


@cell('Pool', 'the largest worker killed from outside, as the OOM killer does', raises='WorkerLost')
def pool_oom(mp):
    _inherited.update(ready=mp.Event(), go=mp.Event())
    with mp.Pool(2) as pool, goes_on(pool):
        result = pool.apply_async(use_50_mb_and_wait, (0,))
        _inherited['ready'].wait()
        largest = max(pool._pool, key=lambda w: rss_of(w.pid))
        os.kill(largest.pid, signal.SIGKILL)
        result.get()


def rss_of(pid):
    with open(f'/proc/{pid}/statm') as file:
        return int(file.read().split()[1])


@cell('Pool', 'a worker killed while it holds a lock that the next task takes', gives='taken')
def pool_killed_with_lock(mp):
    _inherited['lock'] = mp.Lock()
    with mp.Pool(2) as pool, goes_on(pool):
        try:
            pool.apply(take_and_die)
        except Exception:
            pass
        return pool.apply(take)


def take_and_die():
    _inherited['lock'].acquire()
    die()


def take():
    with _inherited['lock']:
        return 'taken'


@cell('Pool', 'two threads wait on one pool, workers are killed', gives=[True, True])
def pool_two_threads(mp):
    with mp.Pool(2) as pool, goes_on(pool):
        pool.map(square, range(4), 1)
        seen = []

        def wait():
            for _ in range(20):
                try:
                    pool.map(square, range(50), 1)
                except Exception as e:
                    if type(e).__name__ != 'WorkerLost':
                        raise
            seen.append(True)

        threads = [threading.Thread(target=wait) for _ in range(2)]
        for thread in threads:
            thread.start()
        for n in range(5):
            os.kill(pool._pool[n % 2].pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
        return seen


@cell('Pool', 'children of workers', gives=[0, 0])
def pool_children_of_workers(mp):
    _inherited['mp'] = mp
    with mp.Pool(2) as pool, goes_on(pool):
        return pool.map(start_a_child, [1, 2])


def start_a_child(x):
    process = started(_inherited['mp'], square, x)
    process.join()
    return process.exitcode


@cell('Pool', 'a child of a worker that was killed does not live on', gives='gone')
def pool_children_of_killed_workers(mp):
    _inherited.update(mp=mp, pids=mp.SimpleQueue(), go=mp.Event())
    with mp.Pool(1) as pool:
        result = pool.apply_async(start_a_child_that_waits)
        pid = _inherited['pids'].get()
        os.kill(pool._pool[0].pid, signal.SIGKILL)
        try:
            result.get()
        except Exception as e:
            assert type(e).__name__ == 'WorkerLost', e
        until(lambda: gone(pid))
        return 'gone'


def start_a_child_that_waits():
    process = started(_inherited['mp'], _inherited['go'].wait)
    _inherited['pids'].put(process.pid)
    process.join()


@cell('Pool', 'used in a forked child', raises='RuntimeError')
def pool_in_a_forked_child(mp):
    with mp.Pool(1) as pool, goes_on(pool):
        said = mp.SimpleQueue()
        child = started(mp, use_pool, pool, said)
        error = said.get()
        child.join()
        raise error


def use_pool(pool, said):
    try:
        pool.map(square, [1])
    except Exception as e:
        said.put(e)


@cell('Pool', 'collected without close', gives='gone')
def pool_collected(mp):
    import gc
    pool = mp.Pool(2)
    pool.map(square, range(4))
    pids = [w.pid for w in pool._pool]
    del pool
    gc.collect()
    until(lambda: all(gone(pid) for pid in pids))
    return 'gone'


@cell('Pool', 'collected without close after apply_async', gives='gone')
def pool_collected_with_helper(mp):
    import gc
    pool = mp.Pool(2)
    pool.apply_async(square, (2,)).get()
    pids = [w.pid for w in pool._pool]
    del pool
    gc.collect()
    until(lambda: all(gone(pid) for pid in pids))
    return 'gone'
