"""piu: multiprocessing that never hangs.

    import piu as multiprocessing       the same names as the stdlib's package
    python -m piu script.py             for a script that nobody may touch
    piu.install()                       for a program that has imported multiprocessing already

What piu has types of its own for is in the modules below; all other modules of the package are
the stdlib's, the same objects under a second name.
"""

import importlib
import importlib.machinery
import multiprocessing as _stock
import sys
import warnings

_SAME = frozenset((
    'connection', 'dummy', 'forkserver', 'heap', 'managers', 'popen_fork',
    'popen_forkserver', 'popen_spawn_posix', 'process', 'reduction',
    'resource_sharer', 'resource_tracker', 'shared_memory', 'spawn', 'util',
))


class _SameModules:
    """piu.X is multiprocessing.X, for those X that piu does not have: a finder and a loader.

    Not of importlib.abc's: to import that takes as long as all the rest, in each exec'ed child.
    """

    def find_spec(self, name, path=None, target=None):
        package, _, rest = name.partition('.')
        if package != __name__ or rest.partition('.')[0] not in _SAME:
            return None
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__spec__.name
        sys.modules[name] = importlib.import_module('multiprocessing' + name[len(__name__):])


# first, or piu.dummy.connection would be found, and made again, in multiprocessing/dummy/
sys.meta_path.insert(0, _SameModules())

from . import context  # noqa: E402: after the finder
from ._piu import LockLeftWarning, OwnerDiedWarning, WorkerLost, version as __version__

# of each death, not of the first at a place alone; what the program has said of warnings goes first
warnings.simplefilter('always', OwnerDiedWarning, append=True)

__all__ = [name for name in dir(context._default_context) if not name.startswith('_')]
globals().update((name, getattr(context._default_context, name)) for name in __all__)
__all__ += ['install', 'LockLeftWarning', 'OwnerDiedWarning', 'WorkerLost']

SUBDEBUG = _stock.SUBDEBUG
SUBWARNING = _stock.SUBWARNING
from multiprocessing import process, reduction  # noqa: E402


def install():
    """Make the stdlib's multiprocessing use piu, in this process and all its children."""
    from ._patch import install
    install()
