"""The exception of a task, on its way from the worker."""

from multiprocessing.reduction import ForkingPickler

from ._light import pool as stock, traceback


def repr_of(value):
    try:
        return repr(value)
    except Exception:
        return object.__repr__(value)


def failed(error, function):
    """In a worker: what is sent for the exception of a task."""
    if function is stock._helper_reraises_exception:
        return error
    return Failure(error)


def failed_bare(error, function):
    return error


def unsendable(error, value):
    """In a worker: for a value that cannot be pickled."""
    return cannot_be_sent(error, repr_of(value))


class Failure(stock.ExceptionWithTraceback):
    """The pickle of the exception is in bytes of its own: a class may refuse what its `args` say,
    and its name, text and traceback arrive nevertheless."""

    def __init__(self, error):
        super().__init__(error, error.__traceback__)

    def __reduce__(self):
        said = ''.join(traceback.format_exception_only(self.exc)).strip()
        try:
            data = bytes(ForkingPickler.dumps(self.exc))
        except Exception as why:
            return unsent, (repr_of(why), said, self.tb)
        return rebuild, (data, said, self.tb)


def rebuild(data, said, trace):
    try:
        return stock.rebuild_exc(ForkingPickler.loads(data), trace)
    except Exception as why:
        return unsent(repr_of(why), said, trace)


def unsent(why, said, trace):
    error = cannot_be_sent(why, said)
    error.__cause__ = stock.RemoteTraceback(trace)
    return error


def cannot_be_sent(why, what):
    """The stdlib's class takes the repr() of both, and so would quote a text twice."""
    text = why if isinstance(why, str) else repr_of(why)
    error = stock.MaybeEncodingError(text, what)
    error.exc, error.value = error.args = text, what
    return error
