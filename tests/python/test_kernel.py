"""What the kernel refuses, and whom it kills."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
REFUSED = '''
import systems
import piu

systems.refuse(['pidfd'])
for make in piu.Lock, piu.Queue, lambda: piu.Pool(1):
    try:
        make()
    except OSError as error:
        print(error.errno, error)
'''
EATER = '''
import os, pathlib, sys
pathlib.Path(sys.argv[1], 'cgroup.procs').write_text(str(os.getpid()))  # before anything is asked of it
import piu

def prefer_me():
    pathlib.Path('/proc/self/oom_score_adj').write_text('1000')

def eat(size):
    return len(bytearray(size).replace(bytes(1), bytes([1])))

if __name__ == '__main__':
    with piu.Pool(1, prefer_me) as pool:
        try:
            pool.apply(eat, (1 << 30,))
        except piu.WorkerLost as error:
            print(error.oom, error)
        print(pool.apply(abs, (-1,)))
'''


def run(text, *arguments, path=''):
    """What it prints."""
    with tempfile.TemporaryDirectory() as place:
        script = Path(place, 'the_script.py')
        script.write_text(text)
        done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True,
                              env={**os.environ, 'PYTHONPATH': f'{os.environ["PYTHONPATH"]}:{path}'})
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return done.stdout


def memory_group():
    """The directory of this process's memory cgroup, v1 or v2."""
    for line in Path('/proc/self/cgroup').read_text().splitlines():
        _, controllers, path = line.split(':', 2)
        if controllers == 'memory':
            return Path('/sys/fs/cgroup/memory' + path)
        if controllers == '' and Path('/sys/fs/cgroup/cgroup.controllers').exists():
            return Path('/sys/fs/cgroup' + path)
    raise unittest.SkipTest('no memory cgroup')


class Limited:
    """A memory cgroup with a limit, below that of this process."""

    def __init__(self, limit):
        self.path = memory_group() / f'piu-test-{os.getpid()}'
        self.limit = str(limit)

    def __enter__(self):
        try:
            self.path.mkdir()
        except OSError as error:
            raise unittest.SkipTest(f'memory cgroups are not to be made here: {error}')
        try:
            if (self.path / 'memory.max').exists():
                (self.path / 'memory.max').write_text(self.limit)
                (self.path / 'memory.swap.max').write_text('0')
            else:
                (self.path / 'memory.limit_in_bytes').write_text(self.limit)
                (self.path / 'memory.swappiness').write_text('0')
        except OSError as error:
            self.path.rmdir()
            raise unittest.SkipTest(f'its parent gives this cgroup no limit of memory: {error}')
        return self.path

    def __exit__(self, *_):
        for pid in (self.path / 'cgroup.procs').read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        while True:
            try:
                return self.path.rmdir()
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise


class KernelTest(unittest.TestCase):

    def test_a_system_call_that_is_forbidden_is_named(self):
        try:
            said = run(REFUSED, path=HERE / 'never_hang')
        except AssertionError as error:
            if 'seccomp' not in str(error):
                raise
            self.skipTest('no seccomp filters')
        self.assertEqual(said.count(f'{errno.ENOSYS} [Errno'), 3, said)
        self.assertEqual(said.count('the system call pidfd_open is forbidden'), 3, said)

    def test_a_worker_killed_by_the_oom_killer_is_a_loss_that_says_so(self):
        with Limited(100 << 20) as group:
            first, last = run(EATER, group).splitlines()
        self.assertTrue(first.startswith('True ') and 'SIGKILL (the OOM killer)' in first, first)
        self.assertEqual(last, '1')


if __name__ == '__main__':
    unittest.main()
