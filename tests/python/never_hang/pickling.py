"""What cannot be pickled, or not unpickled, on each way: an exception where somebody waits for it."""

import threading

from cell import cell, goes_on, square, started


class TwoArguments(Exception):
    """Unpickled with one argument, and so not at all."""

    def __init__(self, a, b):
        super().__init__(a)


class WithLock(Exception):
    """Cannot be pickled."""

    def __init__(self):
        super().__init__('with a lock')
        self.lock = threading.Lock()


def refuse():
    raise ValueError('when it was unpickled')


class NotBack:
    """Can be pickled, and not unpickled."""

    def __reduce__(self):
        return refuse, ()


def raise_two_arguments(*_):
    raise TwoArguments(1, 2)


def raise_with_lock(*_):
    raise WithLock


def give_lambda(*_):
    return lambda: 1


def give_not_back(*_):
    return NotBack()


RESULTS = {
    raise_with_lock: 'an exception that cannot be pickled',
    raise_two_arguments: 'an exception that cannot be unpickled',
    give_lambda: 'a result that cannot be pickled',
    give_not_back: 'a result that cannot be unpickled',
}
WAYS = {
    'apply': lambda pool, f: pool.apply(f, (1,)),
    'map': lambda pool, f: pool.map(f, [1, 2, 3]),
    'imap': lambda pool, f: list(pool.imap(f, [1, 2, 3])),
}

for function, words in RESULTS.items():
    for way, call in WAYS.items():
        def run(mp, function=function, call=call):
            with mp.Pool(2) as pool, goes_on(pool):
                call(pool, function)
        run.__name__ = f'{way}_{function.__name__}'
        cell(f'Pool.{way}', words, raises='MaybeEncodingError')(run)


@cell('Pool', 'the same in apply_async: an error callback is called', gives='MaybeEncodingError')
def apply_async_error_callback(mp):
    with mp.Pool(1) as pool, goes_on(pool):
        called, seen = threading.Event(), []
        pool.apply_async(raise_two_arguments, error_callback=lambda e: (seen.append(e), called.set()))
        called.wait()
        return type(seen[0]).__name__


for way, call in {
        'apply': lambda pool, x: pool.apply(square, (x,)),
        'map': lambda pool, x: pool.map(square, [x]),
        'imap': lambda pool, x: list(pool.imap(square, [x]))}.items():

    def cannot_go(mp, call=call):
        with mp.Pool(2) as pool, goes_on(pool):
            call(pool, lambda: 1)
    cannot_go.__name__ = f'{way}_argument_cannot_be_pickled'
    cell(f'Pool.{way}', 'an argument that cannot be pickled', raises='AttributeError')(cannot_go)

    def cannot_come(mp, call=call):
        with mp.Pool(2) as pool, goes_on(pool):
            call(pool, NotBack())
    cannot_come.__name__ = f'{way}_argument_cannot_be_unpickled'
    cell(f'Pool.{way}', 'an argument that cannot be unpickled', raises='ValueError')(cannot_come)


@cell('Queue', 'an object that cannot be pickled: put says so', raises='AttributeError')
def queue_cannot_go(mp):
    q = mp.Queue()
    try:
        q.put(lambda: 1)
        q.get()  # without put's word, for ever
    finally:
        q.put(1)
        assert q.get() == 1


@cell('Queue', 'an object that cannot be unpickled: get says so, and goes on', gives=['ValueError', 1])
def queue_cannot_come(mp):
    q = mp.Queue()
    q.put(NotBack())
    q.put(1)
    try:
        q.get()
    except ValueError as e:
        return [type(e).__name__, q.get()]


@cell('Queue', 'the same in a child, which then ends', gives='after')
def queue_cannot_come_in_child(mp):
    q = mp.Queue()
    q.put(NotBack())
    started(mp, get_quietly, q).join()
    q.put('after')
    return q.get()


def get_quietly(q):
    try:
        q.get()
    except ValueError:
        pass
