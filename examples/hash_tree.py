"""usage: hash_tree.py [--kill] [DIR [LIST]]

The SHA-256 of every regular file under DIR (/usr) by a pool on all CPUs.  LIST gets the digests
in the form that sha256sum -c reads.  --kill: a worker is killed half-way; the file that is lost
with it is hashed again.  (By python3 alone that waits for ever; by python3 -m piu it does not.)
"""

import hashlib
import multiprocessing
import os
import signal
import stat
import sys
import time


def find_files(top):
    """{path: size}, largest first: all would wait for a giant that came last."""
    files, device = {}, os.stat(top).st_dev
    for directory, below, names in os.walk(top):
        below[:] = [name for name in below
                    if os.lstat(os.path.join(directory, name)).st_dev == device]
        for name in names:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                files[path] = status.st_size
    return dict(sorted(files.items(), key=lambda file: file[1], reverse=True))


def hash_file(path):
    """(path, digest; or None: it cannot be read)"""
    try:
        with open(path, 'rb') as file:
            return path, hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError:
        return path, None


class Progress:
    """On a terminal one live line; elsewhere a line now and then."""

    def __init__(self, total):
        self.live = sys.stdout.isatty()
        self.total, self.next = total, time.monotonic() + (0 if self.live else 2)

    def show(self, files, size, last=False):
        if time.monotonic() < self.next and not last:
            return
        self.next = time.monotonic() + (0.1 if self.live else 2)
        line = f'  {100 * size // max(1, self.total):3} %   {size / 1e6:.0f} MB   {files} files'
        if self.live:
            print('\r\033[K' + line, end='\n' if last else '', flush=True)
        else:
            print(line, flush=True)

    def say(self, text):
        print(('\r\033[K' if self.live else '') + '  ' + text, flush=True)


def kill_a_worker():
    victim = multiprocessing.active_children()[0]
    os.kill(victim.pid, signal.SIGKILL)
    return f'half-way: SIGKILL to worker {victim.pid}'


def hash_files(files, progress, kill):
    """{path: digest}.  A task that failed is no reason to stop: its file is done again."""
    digests, size = {}, 0
    with multiprocessing.Pool() as pool:
        while left := [path for path in files if path not in digests]:
            results = pool.imap_unordered(hash_file, left)
            while True:
                try:
                    path, digest = next(results)
                except StopIteration:
                    break
                except Exception as error:
                    progress.say(f'again: {type(error).__name__}: {error}')
                    continue
                digests[path] = digest
                size += files[path]
                progress.show(len(digests), size)
                if kill and size >= progress.total // 2:
                    progress.say(kill_a_worker())
                    kill = False
    progress.show(len(digests), size, last=True)
    return digests


def main(arguments):
    kill = arguments[:1] == ['--kill']
    top, *rest = arguments[kill:] or ['/usr']
    if top.startswith('-') or len(rest) > 1:
        sys.exit(__doc__.splitlines()[0])
    files = find_files(top)
    began = time.monotonic()
    digests = hash_files(files, Progress(sum(files.values())), kill)
    took = time.monotonic() - began
    megabytes = sum(size for path, size in files.items() if digests[path]) / 1e6
    print(f'  {took:.2f} s, {megabytes / took:.0f} MB/s', flush=True)
    if rest:
        with open(rest[0], 'w', encoding='utf-8', errors='surrogateescape') as file:
            file.writelines(f'{digest}  {path}\n' for path, digest in digests.items() if digest)


if __name__ == '__main__':
    main(sys.argv[1:])
