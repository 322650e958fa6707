#!/usr/bin/env python3
"""usage: hash_tree.py PROGRAM

The demo, on small trees: its digests are right, a killed worker costs none of them, trouble
with single files is told, and the live line fits the window.
"""

import fcntl
import hashlib
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from pathlib import Path

LIMIT = 120  # seconds
NOBODY = 65534


def run(program, *arguments, user=None):
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=LIMIT, user=user, check=False
    )


def run_in_terminal(program, columns, *arguments):
    """What it writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen([program, *arguments], stdout=theirs, close_fds=True):
        os.close(theirs)
        written = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed
                break
            written += piece
    os.close(ours)
    return written.decode()


def write_big(path, head, size):
    """A hole, but for its head: no work to write."""
    with open(path, "wb") as big:
        big.write(head)
        big.truncate(size)


def make_tree(top):
    """Some hundred small files, some big ones, and what is to be passed over."""
    for i in range(300):
        path = top / f"dir{i % 7}" / f"file {i}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes([i % 256]) * (i * 37 % 5000))
    for i in range(8):
        write_big(top / f"big{i}", b"%d" % i, 40_000_000 + i)
    (top / "link").symlink_to("big0")
    (top / "loop").symlink_to(".")
    os.mkfifo(top / "fifo")


def digests_of(top):
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in top.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def read_list(path):
    pairs = (line.split("  ", 1) for line in path.read_text().splitlines())
    return {name: digest for digest, name in pairs}


def test_digests_are_right_although_a_worker_is_killed(program, top):
    listed = top.parent / "list"
    ended = run(program, top, listed)
    out = ended.stdout

    assert ended.returncode == 0, ended
    assert ended.stderr == "", ended.stderr
    assert read_list(listed) == digests_of(top), "other digests than hashlib's"
    killed = re.findall(r"^half-way: SIGKILL to worker (\d+), which was hashing (.*)$", out, re.M)
    assert len(killed) == 1, out
    pid, path = killed[0]
    again = re.findall(
        rf"^tried again +worker {pid} died while it hashed {re.escape(path)}; worker (\d+)", out, re.M
    )
    assert len(again) == 1 and again[0] != pid, out
    assert re.search(r"^lost +0$", out, re.M), out
    assert re.search(r"^files +308, and 0 that cannot be read$", out, re.M), out
    assert re.search(r"^digests +equal$", out, re.M), out


def test_the_live_line_fits_the_window(program, top):
    for columns in 30, 80:
        drawn = re.split(r"[\r\n]+", run_in_terminal(program, columns, top))
        live = [line for line in drawn if re.match(r"\w+ +\d+%   .* of \d+ MB", line)]
        assert live, drawn
        assert all(len(line) < columns for line in live), live


def test_trouble_is_told(program, top):
    empty = top / "empty"
    empty.mkdir()
    for arguments, code in (
        ([top / "missing"], 1),
        ([empty], 1),
        ([top, top / "missing" / "list"], 1),
        (["--help"], 2),
        ([top, "list", "more"], 2),
    ):
        ended = run(program, *arguments)
        assert ended.returncode == code and ended.stderr.count("\n") == 1, (arguments, ended)


def test_lists_that_differ_are_told(program, top):
    changing, other = top / "largest", top.parent / "other"  # the first of each pass
    ended = threading.Event()

    def change():
        write_big(other, os.urandom(8), 50_000_000)
        other.replace(changing)

    def change_on():
        while not ended.wait(0.01):
            change()

    change()
    thread = threading.Thread(target=change_on)
    thread.start()
    run_ended = run(program, top)
    ended.set()
    thread.join()
    assert run_ended.returncode == 1, run_ended
    assert f"\ndiffers       {changing}\n" in run_ended.stdout, run_ended.stdout
    assert "\ndigests       1 DIFFER\n" in run_ended.stdout, run_ended.stdout


def test_one_file_is_a_tree_too(program, top):
    ended = run(program, top / "dir1" / "file 1")
    assert ended.returncode == 0, ended
    assert "digests       equal" in ended.stdout, ended.stdout


def test_files_that_cannot_be_read_are_counted(program, top):
    (top / "dir2" / "file 2").chmod(0)
    (top / "dir3").chmod(0)
    top.parent.chmod(0o755)
    user = NOBODY if os.geteuid() == 0 else None  # root reads everything
    ended = run(program, top, user=user)
    (top / "dir3").chmod(0o755)
    if ended.returncode == 127:
        raise PermissionError("the library lies where this user may not enter")
    assert ended.returncode == 0, ended
    assert "\nfiles         264, and 1 that cannot be read\n" in ended.stdout, ended.stdout
    assert "\nnot listed    1\n" in ended.stdout, ended.stdout


def main():
    program = sys.argv[1]
    passed = failed = skipped = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        with tempfile.TemporaryDirectory() as directory:
            top = Path(directory) / "top"
            top.mkdir()
            make_tree(top)
            try:
                test(program, top)
                passed += 1
            except PermissionError:  # nobody may not enter the build directory
                skipped += 1
            except (AssertionError, subprocess.TimeoutExpired) as trouble:
                failed += 1
                print(f"FAILED  {name}: {trouble}")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
