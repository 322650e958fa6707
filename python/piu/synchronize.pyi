from multiprocessing import synchronize as _stock
from multiprocessing.context import BaseContext
from typing import Callable

__all__ = ['Lock', 'RLock', 'Semaphore', 'BoundedSemaphore', 'Condition', 'Event', 'Barrier']

class Lock(_stock.Lock):
    def __init__(self, *, ctx: BaseContext | None = None) -> None: ...
    def locked(self) -> bool: ...
    @property
    def owner_died(self) -> int: ...

class RLock(_stock.RLock):
    def __init__(self, *, ctx: BaseContext | None = None) -> None: ...
    def locked(self) -> bool: ...
    @property
    def owner_died(self) -> int: ...

class Semaphore(_stock.Semaphore):
    def __init__(
        self, value: int = 1, *, recover: bool = False, ctx: BaseContext | None = None
    ) -> None: ...
    @property
    def owner_died(self) -> int: ...

class BoundedSemaphore(_stock.BoundedSemaphore):
    def __init__(self, value: int = 1, *, ctx: BaseContext | None = None) -> None: ...
    @property
    def owner_died(self) -> int: ...

class Condition(_stock.Condition):
    def __init__(
        self, lock: Lock | RLock | None = None, *, ctx: BaseContext | None = None
    ) -> None: ...

class Event(_stock.Event):
    def __init__(self, *, ctx: BaseContext | None = None) -> None: ...

class Barrier(_stock.Barrier):
    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: BaseContext | None = None,
    ) -> None: ...
