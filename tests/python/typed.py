"""Is what the stubs say the truth?  `mypy --strict` has nothing to say to this file.

It uses each public name, and is never run.
"""

import ctypes
import logging
import multiprocessing
from multiprocessing.process import BaseProcess
from typing import Any

import piu
from piu import connection, context, dummy, managers, pool, queues, shared_memory, sharedctypes, synchronize


def square(x: int) -> int:
    return x * x


lock: synchronize.Lock = piu.Lock()
with lock:
    died: int = lock.owner_died
held: bool = lock.acquire(timeout=1.5)
recursive: synchronize.RLock = piu.RLock()
semaphore: synchronize.Semaphore = piu.Semaphore(2, recover=True)
units: int = semaphore.get_value()
bounded: synchronize.BoundedSemaphore = piu.BoundedSemaphore(2)
condition: synchronize.Condition = piu.Condition(lock)
with condition:
    came: bool = condition.wait_for(lambda: True, 1.5)
event: synchronize.Event = piu.Event()
barrier: synchronize.Barrier = piu.Barrier(2, action=lambda: None)
stock: multiprocessing.synchronize.Lock = lock

queue: queues.Queue[str] = piu.Queue(10)
queue.put('message', timeout=1.5)
message: str = queue.get()
joinable: queues.JoinableQueue[int] = piu.JoinableQueue()
joinable.task_done()
simple: queues.SimpleQueue[int] = piu.SimpleQueue()
ours, theirs = piu.Pipe(duplex=False)
ready: list[Any] = connection.wait([ours], 1.5)

raw: ctypes.c_int = piu.RawValue(ctypes.c_int, 3)
row: ctypes.Array[ctypes.c_int] = piu.RawArray(ctypes.c_int, 3)
value: sharedctypes.Synchronized[int] = piu.Value(ctypes.c_int, 3)
array: sharedctypes.SynchronizedArray[float] = piu.Array(ctypes.c_double, 3)
block = shared_memory.SharedMemory(create=True, size=64)

workers: pool.Pool
with piu.Pool(2, initializer=print, initargs=('begins',), maxtasksperchild=9) as workers:
    squares: list[int] = workers.map(square, [1, 2, 3])
    later: pool.AsyncResult[int] = workers.apply_async(square, (1,))
    try:
        one: int = later.get(1.5)
    except piu.WorkerLost as error:
        lost: tuple[int, str, bool | None] = error.pid, error.arguments, error.oom
    except piu.TimeoutError:
        pass
threads: pool.ThreadPool = pool.ThreadPool(2)

process = piu.Process(target=square, args=(1,), name='child', daemon=True)
process.start()
own: BaseProcess = piu.current_process()
starter: BaseProcess | None = piu.parent_process()
children: list[BaseProcess] = piu.active_children()
thread = dummy.Process(target=square, args=(1,))
manager: managers.SyncManager = piu.Manager()


def forked(given: context.ForkContext) -> synchronize.Lock:
    child = given.Process(target=square, args=(1,))
    child.start()
    return given.Lock()


forked(piu.get_context('fork')).release()
chosen: context.DefaultContext = piu.get_context()
method: str = piu.get_start_method()
methods: list[str] = piu.get_all_start_methods()
piu.set_start_method('spawn', force=True)
piu.set_executable('/usr/bin/python3')
piu.set_forkserver_preload(['__main__'])
piu.freeze_support()
piu.allow_connection_pickling()
pickler = piu.reducer
logger: logging.Logger = piu.get_logger()
piu.log_to_stderr(logging.DEBUG)
cpus: int = piu.cpu_count()
piu.install()
version: str = piu.__version__
errors: list[type[Exception]] = [
    piu.ProcessError, piu.BufferTooShort, piu.AuthenticationError, piu.OwnerDiedWarning,
    piu.LockLeftWarning]
