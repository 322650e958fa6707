# The functions of the stdlib's module, with its types.
from multiprocessing.sharedctypes import *
from multiprocessing.sharedctypes import (
    __all__ as __all__,
    Synchronized as Synchronized,
    SynchronizedArray as SynchronizedArray,
    SynchronizedBase as SynchronizedBase,
    SynchronizedString as SynchronizedString,
)
