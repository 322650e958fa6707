"""install(): the stdlib's multiprocessing makes piu's objects, also for who imported it before.

No module is replaced.  The factories of BaseContext, which all contexts inherit, make piu's
objects; the functions of the package, which are bound methods, are bound anew.  Children do
the same before they import the main module: see _start.py.
"""

import multiprocessing
from multiprocessing import context, sharedctypes

from . import context as own, sharedctypes as own_sharedctypes
from ._start import _state

__all__ = ['install']


def install():
    """Make multiprocessing use piu, in this process and its children."""
    if _state['installed']:
        return
    _state['installed'] = True
    for name in own.FACTORIES:
        setattr(context.BaseContext, name, vars(own.Factories)[name])
        setattr(multiprocessing, name, getattr(context._default_context, name))
    sharedctypes._new_value = own_sharedctypes._new_value
    context.ForkServerProcess._Popen = staticmethod(own.ForkServerProcess._Popen)
