# The names of the stdlib's package with its types, save for what piu adds.
from multiprocessing import (
    Array as Array,
    AuthenticationError as AuthenticationError,
    BufferTooShort as BufferTooShort,
    JoinableQueue as JoinableQueue,
    Manager as Manager,
    Pipe as Pipe,
    Pool as Pool,
    Process as Process,
    ProcessError as ProcessError,
    Queue as Queue,
    RawArray as RawArray,
    RawValue as RawValue,
    SimpleQueue as SimpleQueue,
    TimeoutError as TimeoutError,
    Value as Value,
    active_children as active_children,
    allow_connection_pickling as allow_connection_pickling,
    cpu_count as cpu_count,
    current_process as current_process,
    freeze_support as freeze_support,
    get_all_start_methods as get_all_start_methods,
    get_context as get_context,
    get_logger as get_logger,
    get_start_method as get_start_method,
    log_to_stderr as log_to_stderr,
    parent_process as parent_process,
    reducer as reducer,
    set_executable as set_executable,
    set_forkserver_preload as set_forkserver_preload,
    set_start_method as set_start_method,
    process as process,
    reduction as reduction,
)
from typing import Callable

from . import synchronize

__version__: str
SUBDEBUG: int
SUBWARNING: int

def install() -> None: ...

class WorkerLost(RuntimeError):
    task: tuple[int, int]
    function: Callable[..., object]
    arguments: str
    pid: int
    exitcode: int | None
    oom: bool | None

class OwnerDiedWarning(RuntimeWarning): ...
class LockLeftWarning(RuntimeWarning): ...

def Lock() -> synchronize.Lock: ...
def RLock() -> synchronize.RLock: ...
def Semaphore(value: int = 1, *, recover: bool = False) -> synchronize.Semaphore: ...
def BoundedSemaphore(value: int = 1) -> synchronize.BoundedSemaphore: ...
def Condition(
    lock: synchronize.Lock | synchronize.RLock | None = None,
) -> synchronize.Condition: ...
def Event() -> synchronize.Event: ...
def Barrier(
    parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
) -> synchronize.Barrier: ...
