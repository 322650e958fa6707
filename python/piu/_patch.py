"""install(): the stdlib's multiprocessing makes piu's objects, also for who imported it before.

No module is replaced.  The factories of BaseContext, which all contexts inherit, make piu's
objects; the functions of the package, which are bound methods, are bound anew.
"""

import multiprocessing
from multiprocessing import context, util

from . import context as own
from ._start import _state

PRELUDE = 'import sys; sys.path[:] = sys.path + [%r]; import piu; piu._install(); '


def install():
    """Make multiprocessing use piu, in this process and its children."""
    if _state['installed']:
        return
    _state['installed'] = True
    for name in own.FACTORIES:
        setattr(context.BaseContext, name, vars(own.Factories)[name])
        setattr(multiprocessing, name, getattr(context._default_context, name))
    _install_command_lines()


def _place():
    """What must be on sys.path for `import piu`."""
    from os.path import abspath, dirname
    return dirname(dirname(abspath(__file__)))


def _install_command_lines():
    """The fork server imports the main module before it is told anything by its children."""
    stock = util.spawnv_passfds

    def spawnv_passfds(path, args, passfds):
        args = list(args)
        command = args[-1] if len(args) > 1 and '-c' in args[1:-1] else ''
        if isinstance(command, str) and command.startswith(
                'from multiprocessing.forkserver import '):
            args[-1] = PRELUDE % _place() + command
        return stock(path, args, passfds)

    util.spawnv_passfds = spawnv_passfds
