#!/usr/bin/env python3
"""usage: run.py EXAMPLE...

Run each example, a program; what it prints must be what examples/expected/NAME.txt says.  A
Python example is run twice: as it is, and by `python -m piu` with its import changed back to
the stdlib's multiprocessing.
There, neighbouring lines that begin with "| " may come in any order, and * stands for
anything within a line.  An example also ends with exit code 0, says nothing on standard error
and leaves no process behind.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path

EXPECTED = Path(__file__).parents[2] / "examples" / "expected"
LIMIT = 60  # seconds

# a sanitizer is not to catch the signals by which examples die on purpose
ENVIRONMENT = dict(os.environ)
ENVIRONMENT.pop("PYTHONUNBUFFERED", None)  # lines of two processes would come in halves
for name in "ASAN_OPTIONS", "UBSAN_OPTIONS":
    own = "handle_segv=0:handle_abort=0"
    ENVIRONMENT[name] = ":".join(filter(None, [os.environ.get(name), own]))


def is_left(group):
    """Is some process of the group still there, after the time that ends may take?"""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.01)
    return True


def matches(pattern, line):
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), line)


def agrees(expected, printed):
    """Compare line by line; a group of lines with "| " as a set."""
    printed = printed.splitlines()
    for anyhow, patterns in groupby(expected.splitlines(), lambda p: p.startswith("| ")):
        patterns = [p[2:] if anyhow else p for p in patterns]
        lines, printed = printed[: len(patterns)], printed[len(patterns) :]
        if anyhow:
            patterns, lines = sorted(patterns), sorted(lines)
        if len(lines) < len(patterns) or not all(map(matches, patterns, lines)):
            return False
    return not printed


def commands_for(program, directory):
    if not program.endswith(".py"):
        return [[program]]
    text = Path(program).read_text()
    stock = Path(directory) / Path(program).name
    stock.write_text(text.replace("import piu as multiprocessing", "import multiprocessing"))
    return [[sys.executable, program], [sys.executable, "-m", "piu", str(stock)]]


def complaint_about(program, command):
    expected = (EXPECTED / f"{Path(program).stem}.txt").read_text()
    run = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    try:
        printed, errors = run.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        return f"not at its end after {LIMIT} s; printed:\n{run.communicate()[0]}"
    if is_left(run.pid):
        os.killpg(run.pid, signal.SIGKILL)
        return "left a process behind"
    if run.returncode != 0 or errors:
        return f"exit code {run.returncode}:\n{errors}"
    if not agrees(expected, printed):
        return f"expected:\n{expected}printed:\n{printed}"
    return None


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory() as directory:
        for program in sys.argv[1:]:
            for command in commands_for(program, directory):
                complaint = complaint_about(program, command)
                if complaint is None:
                    passed += 1
                else:
                    failed += 1
                    print(f"FAILED  {' '.join(command)}: {complaint}")
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


if __name__ == "__main__":
    sys.exit(main())
