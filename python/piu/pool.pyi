from multiprocessing import pool as _stock
from multiprocessing.pool import (
    ApplyResult as ApplyResult,
    AsyncResult as AsyncResult,
    IMapIterator as IMapIterator,
    IMapUnorderedIterator as IMapUnorderedIterator,
    MapResult as MapResult,
    ThreadPool as ThreadPool,
)

__all__ = ['Pool', 'ThreadPool']

class Pool(_stock.Pool): ...
