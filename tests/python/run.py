#!/usr/bin/env python3
"""usage: run.py FILE [TEST]...: the tests of a file, each in a process and session of its own.

A test that hangs is killed after LIMIT seconds with all that it started, and fails.  Closes with
"N passed, M failed, K skipped".  PYTHONPATH says where piu is.
"""

import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

LIMIT = 60  # seconds


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item.id()


def run(name):
    """(exit code or None, what it said)"""
    process = subprocess.Popen([sys.executable, '-m', 'unittest', '-v', name],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True, text=True)
    try:
        said, _ = process.communicate(timeout=LIMIT)
        return process.returncode, said
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return None, said
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def main():
    file = Path(sys.argv[1]).resolve()
    os.chdir(file.parent)
    sys.path.insert(0, str(file.parent))
    loader = unittest.defaultTestLoader
    names = list(tests_of(loader.loadTestsFromName(file.stem)))
    if loader.errors:
        sys.exit(loader.errors[0])
    if wanted := set(sys.argv[2:]):
        if unknown := wanted - {name.split('.')[-1] for name in names}:
            sys.exit(f'{file.name}: no test {", ".join(sorted(unknown))}')
        names = [name for name in names if name.split('.')[-1] in wanted]
    passed = failed = skipped = 0
    for name in names:
        code, said = run(name)
        if code == 0 and '(skipped=' in said:
            skipped += 1
        elif code == 0:
            passed += 1
        else:
            failed += 1
            print(f'FAILED  {name}' + ('' if code is not None else f': over {LIMIT} s'))
            print(said)
    print(f'{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else ''))
    return failed > 0


if __name__ == '__main__':
    sys.exit(main())
