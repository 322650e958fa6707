"""python -m piu script.py | directory | archive.zip | - | -m module | -c code [arguments]
python -m piu --version

Run it with piu installed; `-`, or nothing: what comes at standard input; nothing, at a terminal: a
prompt.  What is to come after a script is the interpreter's: python -i -m piu script.py
"""

import importlib.machinery
import io
import os
import pkgutil
import runpy
import sys
import types

import piu

USAGE = ('usage: python -m piu script.py | directory | archive.zip | - | -m module | -c code '
         '[argument]...')


def main_module(**names):
    """An empty __main__, as the interpreter makes it: what children look for is in it."""
    module = types.ModuleType('__main__')
    module.__dict__.update(__builtins__=__builtins__, **names)
    sys.modules['__main__'] = sys.modules['__mp_main__'] = module
    return module.__dict__


def begin_path(place):
    """As the interpreter begins sys.path, unless -P forbids it."""
    if not sys.flags.safe_path:
        sys.path.insert(0, place)


def run_file(path):
    path = os.path.join(os.getcwd(), path)
    if pkgutil.get_importer(path) is None:
        run_script(path)
    else:  # a directory, or an archive by whatever name
        sys.path.insert(0, path)
        run_as_main('__main__', alter_argv=False)


def run_script(path):
    begin_path(os.path.dirname(os.path.realpath(path)))
    try:
        with io.open_code(path) as file:
            source = file.read()  # once: it may be a pipe
    except OSError as error:  # as the interpreter says it
        print(f"{sys.executable}: can't open file {path!r}: "
              f'[Errno {error.errno}] {error.strerror}', file=sys.stderr)
        sys.exit(2)
    code = pkgutil.read_code(io.BytesIO(source))
    loader = importlib.machinery.SourcelessFileLoader  # a .pyc
    if code is None:
        code = compile(source, path, 'exec')
        loader = importlib.machinery.SourceFileLoader
    exec(code, main_module(__file__=path, __cached__=None,
                           __loader__=loader('__main__', path)))


def run_module(name):
    begin_path(os.getcwd())
    run_as_main(name, alter_argv=True)


def run_as_main(name, alter_argv):
    """What the interpreter itself calls for -m, and for the __main__ of a directory."""
    main_module()
    runpy._run_module_as_main(name, alter_argv)


def run_code(text):
    begin_path('')
    exec(compile(text, '<string>', 'exec'), main_module())


def run_input():
    begin_path('')
    exec(compile(sys.stdin.buffer.read(), '<stdin>', 'exec'), main_module())


def run_prompt():
    import code  # here: a user's file may have that name, and lie where sys.path began

    begin_path('')
    names = main_module()
    getattr(sys, '__interactivehook__', bool)()  # history and completion, as site has them
    code.interact(f'Python {sys.version} on {sys.platform}\nmultiprocessing is piu '
                  f'{piu.__version__}', local=names, exitmsg='')


def begin_traces_with_script():
    """A trace that nobody catches: without what called the script."""
    stock = sys.excepthook

    def excepthook(kind, error, trace):
        at = trace
        while at is not None:
            if at.tb_frame.f_code.co_filename == __file__:
                trace = at.tb_next
            at = at.tb_next
        stock(kind, error.with_traceback(trace), trace)

    sys.excepthook = excepthook


def refuse(text):
    print(text, file=sys.stderr)
    sys.exit(2)


def asked_for(arguments):
    """(function, its arguments, sys.argv)"""
    if not arguments or arguments[0] == '-':
        return run_prompt if sys.stdin.isatty() else run_input, (), arguments or ['']
    if arguments[0] == '-m':
        return run_module, arguments[1:2], arguments[1:]
    if arguments[0] == '-c':
        return run_code, arguments[1:2], ['-c'] + arguments[2:]
    if arguments[0].startswith('-'):
        refuse(f'piu: no option {arguments[0]}\n{USAGE}')
    return run_file, arguments[:1], arguments


def main():
    arguments = sys.argv[1:]
    if not arguments and not sys.stdin or arguments in (['-m'], ['-c']):
        refuse(USAGE)
    if arguments[:1] in (['-h'], ['--help']):
        print(__doc__)
        return
    if arguments[:1] in (['-V'], ['--version']):
        print('piu', piu.__version__)
        return
    run, of, sys.argv[:] = asked_for(arguments)
    if not sys.flags.safe_path:
        del sys.path[0]  # that of `python -m piu`
    piu.install()
    if run is not run_prompt:  # which takes what calls its input off by itself
        begin_traces_with_script()
    run(*of)


if __name__ == '__main__':
    main()
