"""Pipe: a stream from a process to its parent."""

import library
from queue_rows import a_tuple, an_int, bytes_1m, round_trip_by_pipe, starter, stock, time_of_stream
from row import Part, Row, faster

KINDS = {'one way': False, 'both ways': True}


def by_pipe(context, make, count, kind, send='send', receive='recv'):
    reader, writer = context.Pipe(KINDS[kind])
    return time_of_stream(getattr(writer, send), getattr(reader, receive),
                          starter(context, make), count)


def streams(make, count, kind, *names):
    return {
        'piu': lambda: by_pipe(library.context('piu'), make, count, kind, *names),
        'stdlib': lambda: by_pipe(stock(), make, count, kind, *names),
    }


def bytes_100():
    return b'x' * 100


BYTES = 'send_bytes', 'recv_bytes'
ROWS = Part('pipe, one sender and one receiver: a message', (
    *(Row(f'{name}, {kind}', 'us', streams(make, count, kind, *names), faster(times, 'stdlib'))
      for kind in KINDS
      for name, make, count, names, times in (
          ('an int', an_int, 20_000, (), 1.3),
          ('tuple of int, str, float', a_tuple, 20_000, (), 1.3),
          ('100 B by send_bytes', bytes_100, 20_000, BYTES, 1.3),
          ('1 MB by send_bytes', bytes_1m, 200, BYTES, 1.3))),
    Row('there and back by pipe', 'us', {
        'piu': lambda: round_trip_by_pipe(library.context('piu'), 3_000),
        'stdlib': lambda: round_trip_by_pipe(stock(), 3_000)}, faster(1, 'stdlib')),
))
