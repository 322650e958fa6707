from multiprocessing import queues as _stock
from multiprocessing.context import BaseContext
from typing import TypeVar

__all__ = ['Queue', 'SimpleQueue', 'JoinableQueue']

_T = TypeVar('_T')

class Queue(_stock.Queue[_T]):
    def __init__(self, maxsize: int = 0, *, ctx: BaseContext) -> None: ...

class JoinableQueue(Queue[_T], _stock.JoinableQueue[_T]):
    def __init__(self, maxsize: int = 0, *, ctx: BaseContext) -> None: ...

class SimpleQueue(_stock.SimpleQueue[_T]):
    def __init__(self, *, ctx: BaseContext) -> None: ...
