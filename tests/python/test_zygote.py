"""The start method "forkserver": children of the zygote, its end, and the stdlib's own server."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest
from pathlib import Path
from unittest import mock

import children
import piu
from piu import _zygote

context = piu.get_context('forkserver')


def say_parent(queue):
    queue.put(os.getppid())


def zygote_pid():
    queue = context.SimpleQueue()
    assert children.run(context, say_parent, queue) == 0
    return queue.get()


def children_of(pid):
    return [int(n) for n in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def parent_of(pid):
    return int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1])


def spare_of(pid, others=0):
    """The youngest, when of the others as many are left."""
    children.wait_until(lambda: len(children_of(pid)) == others + 1)
    return children_of(pid)[-1]


def end(how, *_):
    if how == 'exit':
        sys.exit(3)
    if how == 'raise':
        sys.stderr = open(os.devnull, 'w')
        raise KeyError
    if how == 'kill':
        children.die()


def check_stdin(depth):
    """It reads nothing, and is a new one in a child by fork, even where this one's was closed."""
    assert sys.stdin.read() == ''
    if depth:
        sys.stdin.close()
        sys.exit(children.run(piu.get_context('fork'), check_stdin, depth - 1))


def wait_and_exit(begun, event, code):
    begun.set()
    event.wait()
    os._exit(code)


def wait_and_end(event, how):
    event.wait()
    end(how)


def start_one(queue):
    children.run(piu.get_context('forkserver'), say_parent, queue)


def use(things):
    for thing in things:
        with thing:
            pass


def run_script(text, *arguments, **options):
    with tempfile.TemporaryDirectory() as place:
        Path(place, 'the_script.py').write_text(textwrap.dedent(text))
        Path(place, 'preloaded.py').write_text('import os\nloader = os.getpid()\n')
        done = subprocess.run([sys.executable, 'the_script.py', *arguments], text=True,
                              capture_output=True, timeout=50, cwd=place, **options)
    return done


class ZygoteTest(unittest.TestCase):

    def test_stdin_of_children_reads_nothing(self):
        self.assertEqual(children.run(context, check_stdin, 2), 0)

    def test_children_end_as_they_would_elsewhere(self):
        for how, code in ('return', 0), ('exit', 3), ('raise', 1), ('kill', -signal.SIGKILL):
            self.assertEqual(children.run(context, end, how), code)

    def test_terminate_and_kill_reach_the_child(self):
        for way, code in ('terminate', -signal.SIGTERM), ('kill', -signal.SIGKILL):
            begun, event = context.Event(), context.Event()
            process = context.Process(target=wait_and_exit, args=(begun, event, 1))
            process.start()
            begun.wait()
            self.assertTrue(process.is_alive())
            self.assertIsNone(process.exitcode)
            getattr(process, way)()
            process.join()
            self.assertEqual(process.exitcode, code)

    def test_a_signal_does_not_reach_who_has_the_pid_when_the_child_has_ended(self):
        def poll(*args):
            code = polls(*args)
            popen.pid = stranger.pid  # from here on that one's
            return code

        with subprocess.Popen(['sleep', '60']) as stranger:
            process = context.Process(target=signal.pause)
            process.start()
            popen, pid = process._popen, process.pid
            polls = popen.poll
            with mock.patch.object(popen, 'poll', poll):
                process.kill()
            popen.pid = pid
            process.join(30)
            stranger.terminate()
            self.assertEqual((process.exitcode, stranger.wait()), (-signal.SIGKILL, -signal.SIGTERM))

    def test_without_pidfds_signals_reach_the_child_too(self):
        with mock.patch('os.pidfd_open', side_effect=OSError(errno.ENOSYS, 'no such call')):
            process = context.Process(target=signal.pause)
            process.start()
            process.kill()
            process.join(30)
        self.assertEqual(process.exitcode, -signal.SIGKILL)

    def test_all_children_come_from_one_process_which_is_no_fork_of_this(self):
        first = zygote_pid()
        self.assertEqual(zygote_pid(), first)
        self.assertNotEqual(first, os.getpid())
        self.assertIn(b'_zygote_main', Path(f'/proc/{first}/cmdline').read_bytes())

    def test_a_child_starts_others_by_the_same_zygote(self):
        queue = context.SimpleQueue()
        self.assertEqual(children.run(context, start_one, queue), 0)
        self.assertEqual(queue.get(), zygote_pid())

    def test_a_forked_child_does_so_too(self):
        zygote, queue = zygote_pid(), context.SimpleQueue()
        self.assertEqual(children.run(piu.get_context('fork'), start_one, queue), 0)
        self.assertEqual(queue.get(), zygote)

    def test_a_killed_zygote_is_replaced_and_its_children_live_on(self):
        begun, event = context.Event(), context.Event()
        process = context.Process(target=wait_and_exit, args=(begun, event, 0))
        process.start()
        begun.wait()
        first = zygote_pid()
        spare = spare_of(first, others=1)
        os.kill(first, signal.SIGKILL)
        self.assertNotEqual(zygote_pid(), first)
        children.wait_until(lambda: not Path(f'/proc/{spare}').exists())
        self.assertTrue(process.is_alive())
        event.set()
        process.join()
        self.assertEqual(process.exitcode, 255)

    def test_a_child_that_outlived_its_zygote_tells_itself_how_it_ends(self):
        for how, code in ('return', 0), ('exit', 3), ('kill', 255):
            event = context.Event()
            process = context.Process(target=wait_and_end, args=(event, how))
            process.start()
            zygote = zygote_pid()
            os.kill(zygote, signal.SIGKILL)
            children.wait_until(lambda: parent_of(process.pid) != zygote)
            event.set()
            process.join()
            self.assertEqual(process.exitcode, code)

    def test_a_zygote_that_was_started_with_signals_blocked_hears_them(self):
        def start_blocked():
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            codes.append(children.run(context, end, 'exit'))

        first = zygote_pid()
        spare = spare_of(first)
        os.kill(first, signal.SIGKILL)
        children.wait_until(lambda: not Path(f'/proc/{spare}').exists())
        codes = []
        thread = threading.Thread(target=start_blocked)
        thread.start()
        thread.join()
        self.assertEqual(codes, [3])

    def test_a_request_that_nobody_read_goes_to_the_next_zygote(self):
        first = zygote_pid()
        for pid in first, spare_of(first):
            os.kill(pid, signal.SIGSTOP)
        starter = context.Process(target=end, args=('return',))
        thread = threading.Thread(target=starter.start)
        thread.start()
        # it sleeps in the answer's recv(): the request lies there
        children.wait_until(lambda: waits_in_unix_socket(thread.native_id))
        for pid in spare_of(first), first:
            os.kill(pid, signal.SIGKILL)
        thread.join()
        starter.join()
        self.assertEqual(starter.exitcode, 0)
        self.assertNotEqual(zygote_pid(), first)

    def test_a_signals_handler_starts_a_process_while_one_starts(self):
        codes, to_come = [], []

        def start(*_):
            codes.append(children.run(context, end, 'return'))

        def interrupted(method):
            def call(*arguments):
                if to_come:
                    signal.raise_signal(to_come.pop())
                return method(*arguments)
            return call

        class Interrupting:
            def __reduce__(self):
                signal.raise_signal(signal.SIGALRM)
                return int, ()

        before = signal.signal(signal.SIGALRM, start)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        for name in 'setup', 'ask':
            _zygote.zygote.socket = None  # it starts one
            to_come.append(signal.SIGALRM)
            with mock.patch.object(_zygote.Zygote, name,
                                   interrupted(getattr(_zygote.Zygote, name))):
                start()
        process = context.Process(target=end, args=('return', Interrupting(), context.Lock()))
        process.start()
        process.join()
        self.assertEqual([*codes, process.exitcode], [0] * 6)

    def test_a_killed_spare_has_a_successor(self):
        first = zygote_pid()
        for _ in range(10):
            os.kill(spare_of(first), signal.SIGKILL)
            self.assertEqual(zygote_pid(), first)

    def test_nothing_is_left_when_the_starter_was_killed(self):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            zygote = zygote_pid()
            os.write(writer, b'%d %d' % (zygote, spare_of(zygote)))
            children.die()
        os.waitpid(pid, 0)
        for left in os.read(reader, 100).split():
            children.wait_until(lambda: not Path(f'/proc/{int(left)}').exists())

    def test_many_at_once(self):
        begun, event = context.Semaphore(0), context.Event()
        processes = [context.Process(target=wait_and_exit, args=(begun_by(begun), event, n))
                     for n in range(20)]
        for process in processes:
            process.start()
        for _ in processes:
            begun.acquire()
        event.set()
        for process in processes:
            process.join()
        self.assertEqual([process.exitcode for process in processes], list(range(20)))

    def test_as_many_descriptors_as_a_message_takes(self):
        with self.assertRaisesRegex(ValueError, 'too many fds'):
            _zygote.zygote.request([0] * _zygote.FDS_MAX)
        _, link = _zygote.zygote.request([0] * (_zygote.FDS_MAX - _zygote.FDS_OWN))
        link.close()

    def test_a_thousand_objects(self):
        self.assertEqual(children.run(context, use, [context.Lock() for _ in range(1000)]), 0)

    def test_what_is_preloaded_is_imported_once(self):
        done = run_script('''
            import os, piu, sys
            loader = os.getpid()
            print('imported', flush=True)
            def child():
                import preloaded
                assert loader == preloaded.loader == os.getppid()
            if __name__ == '__main__':
                context = piu.get_context('forkserver')
                context.set_forkserver_preload(['__main__', 'preloaded', 'not_there'])
                for _ in range(2):
                    process = context.Process(target=child)
                    process.start()
                    process.join()
                    print(process.exitcode)
        ''')
        self.assertEqual((done.stdout, done.stderr), ('imported\nimported\n0\n0\n', ''))

    def test_without_a_preloaded_main_each_child_imports_it(self):
        done = run_script('''
            import os, piu
            loader = os.getpid()
            def child():
                assert loader == os.getpid()
            if __name__ == '__main__':
                context = piu.get_context('forkserver')
                context.set_forkserver_preload([])
                process = context.Process(target=child)
                process.start()
                process.join()
                print(process.exitcode)
        ''')
        self.assertEqual((done.stdout, done.stderr), ('0\n', ''))

    def test_arguments_directory_path_and_flags_are_the_starters(self):
        done = run_script('''
            import os, piu, sys
            def child(argv, path, directory):
                assert sys.argv == argv, sys.argv
                assert sys.path == path, (sys.path, path)
                assert os.getcwd() == directory
                assert os.environ['PIU_TEST'] == 'yes'
                assert sys.flags.dont_write_bytecode == 1
            if __name__ == '__main__':
                context = piu.get_context('forkserver')
                for directory in os.getcwd(), '/':
                    os.chdir(directory)
                    sys.path.append('/nowhere' + directory)
                    sys.argv.append('more')
                    process = context.Process(target=child,
                                              args=(sys.argv, sys.path, os.getcwd()))
                    process.start()
                    process.join()
                    print(process.exitcode)
        ''', 'a', '-b', env={**os.environ, 'PIU_TEST': 'yes', 'PYTHONDONTWRITEBYTECODE': '1'})
        self.assertEqual((done.stdout, done.stderr), ('0\n0\n', ''))

    def test_a_main_that_cannot_be_imported_is_told_by_each_child(self):
        done = run_script('''
            import piu
            def child():
                pass
            if __name__ != '__main__':
                raise KeyError('of main')
            context = piu.get_context('forkserver')
            for _ in range(2):
                process = context.Process(target=child)
                process.start()
                process.join()
                print(process.exitcode)
        ''')
        self.assertEqual(done.stdout, '1\n1\n')
        self.assertEqual(done.stderr.count("KeyError: 'of main'"), 2)

    def test_a_main_without_a_guard_is_the_stdlibs_error(self):
        done = run_script('''
            import piu
            def child():
                pass
            process = piu.get_context('forkserver').Process(target=child)
            process.start()
            process.join()
            print(process.exitcode)
        ''')
        self.assertEqual(done.stdout, '1\n')
        self.assertIn('before the\n        current process has finished its bootstrapping',
                      done.stderr)

    def test_handlers_of_exit_are_not_run_by_the_zygote(self):
        done = run_script('''
            import atexit, os, piu
            pid = os.getpid()
            def child():
                pass
            if __name__ != '__main__':
                atexit.register(print, 'at exit of', os.getpid())
            else:
                process = piu.get_context('forkserver').Process(target=child)
                process.start()
                process.join()
        ''')
        self.assertEqual((done.stdout, done.stderr), ('', ''))

    def test_installed_later_than_the_zygote(self):
        done = run_script('''
            import multiprocessing, piu
            def child():
                print(type(multiprocessing.Lock()).__module__, flush=True)
            def start():
                process = multiprocessing.get_context('forkserver').Process(target=child)
                process.start()
                process.join()
            if __name__ == '__main__':
                process = piu.get_context('forkserver').Process(target=child)
                process.start()
                process.join()
                piu.install()
                start()
        ''')
        self.assertEqual((done.stdout, done.stderr),
                         ('multiprocessing.synchronize\npiu.synchronize\n', ''))

    def test_the_stdlibs_server_serves_stock_code(self):
        import multiprocessing
        from multiprocessing import forkserver
        queue = context.SimpleQueue()
        stock = multiprocessing.get_context('forkserver')
        self.assertEqual(children.run(stock, say_parent, queue), 0)
        self.assertEqual(queue.get(), forkserver._forkserver._forkserver_pid)
        self.assertNotEqual(zygote_pid(), forkserver._forkserver._forkserver_pid)


class begun_by:
    """An event's set() on a semaphore."""

    def __init__(self, semaphore):
        self.set = semaphore.release


def waits_in_unix_socket(thread):
    return Path(f'/proc/self/task/{thread}/wchan').read_text().startswith('unix_')


if __name__ == '__main__':
    unittest.main()
