"""import piu as multiprocessing, piu.install(), python -m piu."""

import contextlib
import os
import py_compile
import subprocess
import sys
import tempfile
import textwrap
import unittest
import zipapp
from pathlib import Path

import piu


def run(*arguments, script=None):
    """What python says; script: a file that is made first, and named by {}"""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, 'the_script.py')
        if script is not None:
            path.write_text(textwrap.dedent(script))
        done = subprocess.run([sys.executable, *(a.format(path) for a in arguments)],
                              capture_output=True, text=True, timeout=50, cwd=place)
    if done.returncode or done.stderr:
        raise AssertionError(f'exit code {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout


SCRIPT = '''
    import multiprocessing, sys
    from multiprocessing import Lock, Process, Queue, get_context

    lock = Lock()

    def work(given, queue):
        own = multiprocessing.Lock()
        with given, lock, own:
            queue.put([type(x).__module__ for x in (given, lock, own)])

    if __name__ == '__main__':
        print(sys.argv[1:], __file__ == sys.argv[0])
        for method in 'fork', 'spawn', 'forkserver':
            context = get_context(method)
            queue = context.Queue()
            process = context.Process(target=work, args=(Lock(), queue))
            process.start()
            print(*queue.get())
            process.join()
'''
SAID = "['a', '-b'] True\n" + 3 * 'piu.synchronize piu.synchronize piu.synchronize\n'


CHILDREN = """
    import multiprocessing, piu

    def start(module):
        process = module.Process(target=print, args=('ran',), kwargs=dict(end=' ', flush=True))
        try:
            process.start()
        except AssertionError:
            print('refused', end=' ', flush=True)
        else:
            process.join()

    def both():
        start(piu)
        start(multiprocessing)

    if __name__ == '__main__':
        piu.install()
        with multiprocessing.Pool(1) as pool:
            print(type(pool).__module__, end=' ', flush=True)
            pool.apply(both)
        print(flush=True)
        daemon = multiprocessing.Process(target=both, daemon=True)
        daemon.start()
        daemon.join()
        print(flush=True)
"""
IN_CHILDREN = """
    import multiprocessing
    from the_work import work

    if __name__ == '__main__':
        for method in 'fork', 'spawn', 'forkserver':
            context = multiprocessing.get_context(method)
            queue = context.Queue()
            process = context.Process(target=work, args=(context.Lock(), queue))
            process.start()
            print(*queue.get())
            process.join()
"""
WORK = """
    def work(lock, queue):
        with lock:
            queue.put([type(lock).__module__, type(queue).__module__])
"""
WHO_AM_I = """
    import sys
    print(sorted(globals().keys() - {'__annotations__'}), __name__, __package__, __file__,
          __cached__, type(__loader__), __spec__ and __spec__.name, sys.argv, sys.path)
"""


class DropInTest(unittest.TestCase):

    def test_a_script_that_nobody_touches(self):
        self.assertEqual(run('-m', 'piu', '{}', 'a', '-b', script=SCRIPT), SAID)

    def test_a_module(self):
        self.assertEqual(run('-m', 'piu', '-m', 'the_script', 'a', '-b', script=SCRIPT), SAID)

    def test_a_directory_and_an_archive_with_a_main_module(self):
        with tempfile.TemporaryDirectory() as place:
            directory = self.program(place, IN_CHILDREN)
            Path(directory, 'the_work.py').write_text(textwrap.dedent(WORK))
            for path in directory, self.archive(directory):
                self.assertEqual(run('-m', 'piu', str(path)),
                                 3 * 'piu.synchronize piu.queues\n')

    def program(self, place, main):
        """A directory that python can run; it is a package as well."""
        directory = Path(place, 'the_program')
        directory.mkdir()
        for name in '__main__.py', 'other.py':
            Path(directory, name).write_text(textwrap.dedent(main))
        return directory

    def archive(self, directory):
        path = directory.with_suffix('.pyz')
        zipapp.create_archive(directory, path)
        return path

    def test_what_runs_is_told_of_itself_what_the_interpreter_tells(self):
        with tempfile.TemporaryDirectory() as place:
            directory = self.program(place, WHO_AM_I)
            archive = self.archive(directory)
            compiled = py_compile.compile(directory / 'other.py', Path(place, 'other.pyc'))
            for what in (['the_program'], [directory], [archive.name], ['the_program/other.py'],
                         [compiled], ['-m', 'the_program'], ['-m', 'the_program.other']):
                for options in [], ['-P']:
                    self.assert_as_python(*options, *what, 'a', '-b', place=place)

    def assert_as_python(self, *arguments, place):
        """Output, exit code and trace are those of the interpreter itself."""
        options = [a for a in arguments if a == '-P']
        rest = arguments[len(options):]
        ours, its = (subprocess.run(
            [sys.executable, *options, *before, *rest], capture_output=True, text=True, cwd=place,
            env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'}) for before in (('-m', 'piu'), ()))
        self.assertEqual((ours.returncode, ours.stdout, ours.stderr),
                         (its.returncode, its.stdout, its.stderr), arguments)

    def test_a_script_at_standard_input_and_from_a_pipe(self):
        text = ('import multiprocessing, sys; print(type(multiprocessing.Lock()).__module__, '
                'sys.argv, sys.path[0], __name__)')
        for arguments, begins in ([], "[''] "), (['-', 'a'], "['-', 'a'] "), (
                ['/dev/stdin'], "['/dev/stdin'] "):
            done = subprocess.run([sys.executable, '-m', 'piu', *arguments], input=text, text=True,
                                  capture_output=True)
            self.assertEqual(done.stderr, '')
            self.assertTrue(done.stdout.startswith('piu.synchronize ' + begins), done.stdout)
            self.assertTrue(done.stdout.endswith(' __main__\n'), done.stdout)

    def test_code(self):
        code = 'import multiprocessing, sys; print(type(multiprocessing.Lock()).__module__, sys.argv)'
        self.assertEqual(run('-m', 'piu', '-c', code, 'a'), "piu.synchronize ['-c', 'a']\n")

    def test_usage_errors(self):
        for wrong in ('-m',), ('-c',), ('-x',):
            terminal, end = os.openpty()
            done = subprocess.run([sys.executable, '-m', 'piu', *wrong], stdin=end,
                                  capture_output=True, text=True)
            os.close(terminal)
            os.close(end)
            self.assertEqual(done.returncode, 2)
            self.assertIn('usage', done.stderr)

    def test_it_says_its_version(self):
        for option in '-V', '--version':
            self.assertEqual(run('-m', 'piu', option), f'piu {piu.__version__}\n')

    def test_at_a_terminal_it_is_a_prompt(self):
        pid, terminal = os.forkpty()
        if pid == 0:
            os.chdir('/')
            os.execve(sys.executable, [sys.executable, '-m', 'piu'], {**os.environ, 'TERM': 'dumb'})
        said = b''
        for line, answer in (('import multiprocessing as m; type(m.Lock()).__module__', b"'piu.synchronize'"),
                             ('def f(x): return x + 41\n\nm.Pool(1).map(f, [1])', b'[42]'), ('1 / 0', b'ZeroDivisionError'),
                             ('import sys; sys.argv', b"['']"), ('exit(3)', b'')):
            os.write(terminal, line.encode() + b'\n')
            while answer not in said:
                said += os.read(terminal, 4096)
        with contextlib.suppress(OSError):  # its end is closed
            while os.read(terminal, 4096):
                pass
        os.close(terminal)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 3)
        self.assertEqual(said.count(b'Traceback'), 1, said)
        self.assertNotIn(b'__main__.py', said)
        self.assertNotIn(b'code.py', said)

    def test_errors_and_traces_are_the_interpreters(self):
        texts = 'def f(): 1 / 0\nf()', '1 +', 'raise KeyboardInterrupt', 'exit("no")', 'exit(3)'
        for text in texts:
            with tempfile.TemporaryDirectory() as place:
                directory = self.program(place, text)
                Path(place, 'empty').mkdir()
                for what in (['the_program'], ['the_program/other.py'], [self.archive(directory)],
                             ['-m', 'the_program'], ['-m', 'the_program.other'], ['no_such.py'],
                             ['empty'], ['-m', 'no_such'], ['-m', 'empty'], ['-c', text]):
                    self.assert_as_python(*what, place=place)

    def test_import_as(self):
        script = SCRIPT.replace('import multiprocessing', 'import piu as multiprocessing')
        script = script.replace('from multiprocessing', 'from piu')
        self.assertEqual(run('{}', 'a', '-b', script=script), SAID)

    def test_install_serves_who_imported_multiprocessing_before(self):
        script = SCRIPT.replace('lock = Lock()', 'import piu; piu.install(); lock = '
                                                 'multiprocessing.Lock()')
        script = script.replace('args=(Lock(),', 'args=(multiprocessing.Lock(),')
        self.assertEqual(run('{}', 'a', '-b', script=script), SAID)

    def test_whose_children_are_refused(self):
        self.assertEqual(run('{}', script=CHILDREN), 'piu.pool ran refused \nrefused refused \n')

    def test_import_alone_changes_nothing_that_stock_makes(self):
        self.assertEqual(run('{}', script='''
            import multiprocessing, piu
            print(type(multiprocessing.Lock()).__module__, type(piu.Lock()).__module__)
            print(type(multiprocessing.get_context('spawn')) is
                  multiprocessing.context.SpawnContext)
        '''), 'multiprocessing.synchronize piu.synchronize\nTrue\n')

    def test_import_brings_nothing_that_takes_long(self):
        place = str(Path(piu.__file__).parents[1])
        script = f'''
            import sys
            sys.path.insert(0, {place!r})
            import piu
            print({{'importlib.abc', 'pathlib', 'tempfile', 'traceback', 'typing'}} & set(sys.modules))
            with piu.Pool(1) as pool:
                pool.apply_async(abs, (-1,)).get()
            print({{'tempfile', 'traceback'}} & set(sys.modules))
        '''
        self.assertEqual(run('-S', '{}', script=script), 'set()\nset()\n')  # -S: nor does site

    def test_modules_that_piu_does_not_have_are_the_stdlibs_own(self):
        self.assertEqual(run('{}', script='''
            import importlib
            for name in ('process', 'util', 'reduction', 'spawn', 'managers', 'heap', 'dummy',
                         'dummy.connection', 'connection', 'shared_memory'):
                ours = importlib.import_module('piu.' + name)
                assert ours is importlib.import_module('multiprocessing.' + name), name
            import piu, multiprocessing
            assert piu.TimeoutError is multiprocessing.TimeoutError
            assert set(multiprocessing.__all__) <= set(piu.__all__)
            try:
                import piu.nonsense
            except ModuleNotFoundError as error:
                print(error)
        '''), "No module named 'piu.nonsense'\n")

    def test_start_method_is_one_for_both(self):
        self.assertEqual(run('{}', script='''
            import multiprocessing, piu
            piu.set_start_method('spawn')
            print(multiprocessing.get_start_method(), piu.get_start_method())
            print(type(piu.get_context()).__module__, type(multiprocessing.get_context()).__module__)
            multiprocessing.set_start_method('fork', force=True)
            print(multiprocessing.get_start_method(), piu.get_start_method())
            try:
                piu.set_start_method('spawn')
            except RuntimeError as error:
                print(error)
        '''), 'spawn spawn\npiu.context multiprocessing.context\nfork fork\n'
              'context has already been set\n')

    def test_an_executor_on_piu(self):
        self.assertEqual(run('{}', script='''
            import concurrent.futures, piu
            if __name__ == '__main__':
                for method in 'fork', 'spawn', 'forkserver':
                    with concurrent.futures.ProcessPoolExecutor(
                            2, mp_context=piu.get_context(method)) as executor:
                        print(list(executor.map(abs, [-1, 2, -3])))
        '''), 3 * '[1, 2, 3]\n')

    def test_a_manager_process(self):
        self.assertEqual(run('{}', script='''
            import piu
            if __name__ == '__main__':
                with piu.Manager() as manager:
                    shared = manager.list([1])
                    lock = manager.Lock()
                    with lock:
                        shared.append(2)
                    print(shared)
        '''), '[1, 2]\n')

    def test_what_the_fork_server_preloads_may_make_objects(self):
        self.assertEqual(run('{}', script='''
            import piu
            lock = piu.Lock()
            def use(given):
                with lock, given:
                    print('used', flush=True)
            if __name__ == '__main__':
                import the_script
                context = piu.get_context('forkserver')
                context.set_forkserver_preload(['the_script'])
                for _ in range(2):
                    process = context.Process(target=the_script.use, args=(context.Lock(),))
                    process.start()
                    process.join()
        '''), 'used\nused\n')


if __name__ == '__main__':
    unittest.main()
