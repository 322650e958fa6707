from multiprocessing import context as _stock, synchronize as _stock_synchronize
from multiprocessing.context import (
    AuthenticationError as AuthenticationError,
    BaseContext as BaseContext,
    BufferTooShort as BufferTooShort,
    ProcessError as ProcessError,
    TimeoutError as TimeoutError,
)
from typing import Any, Callable, ClassVar, Iterable, Literal, overload

from . import pool, queues, synchronize

__all__ = ()

class Factories:
    def Lock(self) -> synchronize.Lock: ...
    def RLock(self) -> synchronize.RLock: ...
    @overload
    def Condition(
        self, lock: synchronize.Lock | synchronize.RLock | None = None
    ) -> synchronize.Condition: ...
    @overload
    def Condition(
        self, lock: _stock_synchronize.Lock | _stock_synchronize.RLock | None = None
    ) -> _stock_synchronize.Condition: ...
    def Semaphore(self, value: int = 1, *, recover: bool = False) -> synchronize.Semaphore: ...
    def BoundedSemaphore(self, value: int = 1) -> synchronize.BoundedSemaphore: ...
    def Event(self) -> synchronize.Event: ...
    def Barrier(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> synchronize.Barrier: ...
    def Queue(self, maxsize: int = 0) -> queues.Queue[Any]: ...
    def JoinableQueue(self, maxsize: int = 0) -> queues.JoinableQueue[Any]: ...
    def SimpleQueue(self) -> queues.SimpleQueue[Any]: ...
    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
    ) -> pool.Pool: ...

class Chooses:
    @overload
    def get_context(self, method: None = None) -> DefaultContext: ...
    @overload
    def get_context(self, method: Literal['spawn']) -> SpawnContext: ...
    @overload
    def get_context(self, method: Literal['fork']) -> ForkContext: ...
    @overload
    def get_context(self, method: Literal['forkserver']) -> ForkServerContext: ...
    @overload
    def get_context(self, method: str) -> BaseContext: ...

class ForkProcess(_stock.ForkProcess): ...
class SpawnProcess(_stock.SpawnProcess): ...
class ForkServerProcess(_stock.ForkServerProcess): ...
class Process(_stock.Process): ...

class ForkContext(Factories, Chooses, _stock.ForkContext):
    Process: ClassVar[type[ForkProcess]]

class SpawnContext(Factories, Chooses, _stock.SpawnContext):
    Process: ClassVar[type[SpawnProcess]]

class ForkServerContext(Factories, Chooses, _stock.ForkServerContext):
    Process: ClassVar[type[ForkServerProcess]]

class DefaultContext(Factories, Chooses, _stock.DefaultContext):
    Process: ClassVar[type[Process]]
    def __init__(self) -> None: ...

_default_context: DefaultContext
