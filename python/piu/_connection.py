"""Pipe(): the stdlib's, with connections that send and receive in C (piu._piu).

What goes over the descriptor is the same, so that one of the stdlib's may be at the other end.
"""

import os
import socket
from multiprocessing import connection as stock, reduction

from . import _piu


class Connection(_piu._Connection, stock.Connection):
    """An end of a pipe."""


def Pipe(duplex=True):
    """Two connections, one at each end."""
    if duplex:
        ends = socket.socketpair()
        for end in ends:
            end.setblocking(True)  # whatever socket.setdefaulttimeout() has set
        return tuple(Connection(end.detach()) for end in ends)
    reader, writer = os.pipe()
    return Connection(reader, writable=False), Connection(writer, readable=False)


def _rebuild(descriptor, readable, writable):
    return Connection(descriptor.detach(), readable, writable)


def _reduce(connection):
    descriptor = reduction.DupFd(connection.fileno())
    return _rebuild, (descriptor, connection.readable, connection.writable)


reduction.register(Connection, _reduce)
