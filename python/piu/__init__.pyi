# The names of the stdlib's package, and what piu adds.
from multiprocessing import (
    active_children as active_children,
    current_process as current_process,
    freeze_support as freeze_support,
    parent_process as parent_process,
    process as process,
    reducer as reducer,
    reduction as reduction,
)
from typing import Callable

from . import context as context
from .context import (
    AuthenticationError as AuthenticationError,
    BufferTooShort as BufferTooShort,
    Process as Process,
    ProcessError as ProcessError,
    TimeoutError as TimeoutError,
)

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

# functions: methods of the default context, as in the stdlib
Array = context._default_context.Array
Barrier = context._default_context.Barrier
BoundedSemaphore = context._default_context.BoundedSemaphore
Condition = context._default_context.Condition
Event = context._default_context.Event
JoinableQueue = context._default_context.JoinableQueue
Lock = context._default_context.Lock
Manager = context._default_context.Manager
Pipe = context._default_context.Pipe
Pool = context._default_context.Pool
Queue = context._default_context.Queue
RLock = context._default_context.RLock
RawArray = context._default_context.RawArray
RawValue = context._default_context.RawValue
Semaphore = context._default_context.Semaphore
SimpleQueue = context._default_context.SimpleQueue
Value = context._default_context.Value
allow_connection_pickling = context._default_context.allow_connection_pickling
cpu_count = context._default_context.cpu_count
get_all_start_methods = context._default_context.get_all_start_methods
get_context = context._default_context.get_context
get_logger = context._default_context.get_logger
get_start_method = context._default_context.get_start_method
log_to_stderr = context._default_context.log_to_stderr
set_executable = context._default_context.set_executable
set_forkserver_preload = context._default_context.set_forkserver_preload
set_start_method = context._default_context.set_start_method
