"""python -m piu script.py | -m module | -c code [arguments]: run it with piu installed."""

import io
import os
import runpy
import sys
import types

import piu

USAGE = 'usage: python -m piu script.py | -m module | -c code [argument]...'


def main_module(**names):
    """An empty __main__, as the interpreter makes it: what children look for is in it."""
    module = types.ModuleType('__main__')
    module.__dict__.update(__builtins__=__builtins__, **names)
    sys.modules['__main__'] = sys.modules['__mp_main__'] = module
    return module.__dict__


def run_script(path, arguments):
    sys.argv[:] = arguments
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:  # as the interpreter says it
        print(f"{sys.executable}: can't open file {os.path.abspath(path)!r}: "
              f'[Errno {error.errno}] {error.strerror}', file=sys.stderr)
        sys.exit(2)
    exec(compile(source, path, 'exec'), main_module(__file__=path, __cached__=None))


def run_module(name, arguments):
    sys.argv[:] = arguments  # runpy puts the module's path first
    sys.path[0] = os.getcwd()
    runpy.run_module(name, run_name='__main__', alter_sys=True)


def run_code(text, arguments):
    sys.argv[:] = arguments
    sys.path[0] = ''
    exec(compile(text, '<string>', 'exec'), main_module())


def begin_traces_with_script():
    """A trace that nobody catches: without what called the script."""
    stock = sys.excepthook

    def excepthook(kind, error, trace):
        while trace is not None and is_caller(trace.tb_frame):
            trace = trace.tb_next
        stock(kind, error.with_traceback(trace), trace)

    sys.excepthook = excepthook


def is_caller(frame):
    return frame.f_code.co_filename == __file__ or frame.f_globals.get('__name__') == 'runpy'


def main():
    arguments = sys.argv[1:]
    if not arguments or (arguments[0] in ('-m', '-c') and len(arguments) < 2):
        sys.exit(USAGE)
    if arguments[0] in ('-h', '--help'):
        print(__doc__)
        return
    piu.install()
    begin_traces_with_script()
    if arguments[0] == '-m':
        run_module(arguments[1], arguments[1:])
    elif arguments[0] == '-c':
        run_code(arguments[1], ['-c'] + arguments[2:])
    elif arguments[0].startswith('-'):
        sys.exit(f'piu: no option {arguments[0]}\n{USAGE}')
    else:
        run_script(arguments[0], arguments)


if __name__ == '__main__':
    main()
