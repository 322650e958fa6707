"""Starting processes: what the stdlib's start methods need so that children are of the family.

    fork         the child has everything already (libpiu's own handling of fork)
    spawn        the data that the stdlib sends to the child begins with the family: the child
                 is of it before it imports the main module
    forkserver   the zygote is told first, and its children are born into it: _zygote.py
    the stdlib's imports the main module, and what it is told to preload, before its first
    fork server  child: its command line begins with the family

The arena's descriptor goes to a child once for each Popen, whatever the number of objects.  The
objects that are pickled for a child live as long as its Popen.
"""

import os
import sys
from multiprocessing import context, popen_fork, spawn, util

from . import _life, _piu

PLACE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_state = {'begun': False, 'installed': False, 'joined': None}


def joined(text, descriptor, installed):
    """In a child: unpickled before everything else.  The result is not used."""
    enter(text, descriptor.detach(), installed)


def enter(text, descriptor, installed):
    """This process is of its starter's family, and uses piu as its starter does."""
    if _state['joined'] != (os.getpid(), text):  # once: the descriptor may be closed then
        _piu._join(text, descriptor)
        _state['joined'] = os.getpid(), text
    if installed:
        install()


def install():
    from . import _patch
    _patch.install()


class Family:
    """Pickled while a process is started: joined() in the child."""

    def __reduce__(self):
        popen = context.get_spawning_popen()
        if popen is None:
            raise RuntimeError('what a new process is told of piu can only be pickled while '
                               'that process is started')
        text, descriptor = _piu._family()
        duplicate = popen.__dict__.get('_piu_descriptor')
        if duplicate is None:
            duplicate = popen.DupFd(popen.duplicate_for_child(descriptor))
            popen._piu_descriptor = duplicate
        return joined, (text, duplicate, _state['installed'])


class Installed:
    """Pickled for a child that is of the family: it uses piu as its starter does."""

    def __reduce__(self):
        return install, ()


class Path:
    """Unpickled first: the child finds piu where its starter did."""

    def __init__(self, places):
        self.places = places

    def __reduce__(self):
        return spawn.prepare, ({'sys_path': self.places},)


def keep(popen, thing):
    """`thing` is being pickled for the child of `popen`; returns what goes before it."""
    popen.__dict__.setdefault('_piu_kept', []).append(thing)
    return popen.__dict__.setdefault('_piu_family', Family())


def _begin_child(_):
    _life.begin_child()
    # the stdlib ends its children by os._exit(), after these
    util.Finalize(None, _piu._leave, exitpriority=-1000)


def begin():
    """Once, when piu is imported."""
    if _state['begun']:
        return
    _state['begun'] = True
    _wrap_preparation_data()
    _wrap_command_lines()
    _wrap_popen()
    util.register_after_fork(sys.modules[__name__], _begin_child)


stock_preparation_data = spawn.get_preparation_data


def _wrap_preparation_data():

    def get_preparation_data(name):
        data = stock_preparation_data(name)
        return {'piu_path': Path(data['sys_path']), 'piu': Family(), **data}

    spawn.get_preparation_data = get_preparation_data


SERVER = 'from multiprocessing.forkserver import '
PRELUDE = ('import sys; sys.path.append(%r); import multiprocessing, piu._start; '
           'piu._start.enter(%r, %r, %r); ')


def _wrap_command_lines():
    stock = util.spawnv_passfds

    def spawnv_passfds(path, args, passfds):
        args = list(args)
        if '-c' in args[:-1] and isinstance(args[-1], str) and args[-1].startswith(SERVER):
            text, descriptor = _piu._family()
            args[-1] = PRELUDE % (PLACE, text, descriptor, _state['installed']) + args[-1]
            passfds = [*passfds, descriptor]
        return stock(path, args, passfds)

    util.spawnv_passfds = spawnv_passfds


def _wrap_popen():
    """All Popens of the stdlib and of piu are of this class."""
    stock = popen_fork.Popen.__init__

    def __init__(self, process_obj):
        outer = context.get_spawning_popen()  # a signal's handler may have come upon it
        try:
            if _life.is_bound(process_obj, _state['installed']):
                _life.start_bound(lambda: stock(self, process_obj), process_obj)
            else:
                stock(self, process_obj)
        finally:
            context.set_spawning_popen(outer)

    def poll(self, flag=os.WNOHANG):
        if self.returncode is None:
            _piu._reap(self, self.pid, flag)
        return self.returncode

    popen_fork.Popen.__init__ = __init__
    popen_fork.Popen.poll = poll
