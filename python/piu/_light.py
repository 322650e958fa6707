"""The stdlib's modules that a pool needs, without what they import and seldom use.

To import tempfile, with what it imports itself, takes longer than to start the workers of a pool;
multiprocessing.connection wants it for the name of a listener alone.  traceback, which takes half
as long, is for exceptions.
"""

import contextlib
import importlib
import sys
import types


class _Later(types.ModuleType):
    """In the place of a module: imports it when something of it is asked for."""

    def __getattr__(self, name):
        _withdraw(self)
        return getattr(importlib.import_module(self.__name__), name)


def _withdraw(later):
    if sys.modules.get(later.__name__) is later:
        del sys.modules[later.__name__]


@contextlib.contextmanager
def imported_later(name):
    """Who imports the module `name` in here gets one that is imported at its first use."""
    module = sys.modules.setdefault(name, _Later(name))
    try:
        yield module
    finally:
        if isinstance(module, _Later):
            _withdraw(module)


with imported_later('tempfile'), imported_later('traceback') as traceback:
    from multiprocessing import connection, pool  # noqa: F401
