"""The libraries that have the interface of multiprocessing, by name."""

import importlib

from row import Absent

MODULES = {
    'piu': 'piu',
    'stdlib': 'multiprocessing',
    'billiard': 'billiard',
    'multiprocess': 'multiprocess',
}


def find(module):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Absent(str(error)) from error


def context(library, method='fork'):
    return find(MODULES[library]).get_context(method)


def each(function, *libraries, **options):
    """{library: a run of function(context, **options) with it}"""
    def run_of(library):
        return lambda: function(context(library), **options)
    return {library: run_of(library) for library in libraries}
