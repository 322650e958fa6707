#!/usr/bin/env python3
"""usage: run.py PYTHON [CASE]...: other people's libraries, by PYTHON and by PYTHON -m piu.

Each case is a script of this folder, and the library that it needs; where that is not installed
the case is skipped.  PYTHONPATH says where piu is.  Fails if piu fails what the stdlib passes.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT = 180  # seconds
CASES = {  # script: what it needs
    'futures': [],
    'joblib_loky': ['joblib', 'numpy'],
    'joblib_pool': ['joblib', 'numpy'],
    'joblib_tests': ['joblib', 'pytest'],
    'sklearn_forest': ['sklearn'],
    'sklearn_tests': ['sklearn', 'pytest'],
    'torch_loader': ['torch'],
    'mpire_pool': ['mpire'],
    'pebble_pool': ['pebble'],
    'tqdm_map': ['tqdm'],
    'coverage_children': ['coverage'],
    'xdist_tests': ['pytest', 'xdist'],
}


def lacking(python, modules):
    code = 'import importlib.util, sys; sys.exit(any(not importlib.util.find_spec(m) ' \
           'for m in sys.argv[1:]))'
    return subprocess.run([python, '-c', code, *modules], check=False).returncode != 0


def run(command):
    """(verdict, seconds, what it said)"""
    began = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True, text=True,
                               env=dict(os.environ, PYTHONDONTWRITEBYTECODE='1'))
    try:
        said, _ = process.communicate(timeout=LIMIT)
        verdict = 'passed' if process.returncode == 0 else 'FAILED'
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, verdict = process.communicate()[0], 'HANGS'
    finally:  # with all that it started
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return verdict, time.monotonic() - began, said


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.splitlines()[0])
    python, chosen = sys.argv[1], sys.argv[2:] or list(CASES)
    passed = failed = skipped = 0
    print(f'{"":20}{"stdlib":>8}{"s":>7}{"piu":>9}{"s":>7}')
    for name in chosen:
        if lacking(python, CASES[name]):
            skipped += 1
            print(f'{name:20}skipped: no {", ".join(CASES[name])}')
            continue
        script = HERE / f'{name}.py'
        stock, stock_took, _ = run([python, script])
        piu, piu_took, said = run([python, '-m', 'piu', script])
        print(f'{name:20}{stock:>8}{stock_took:7.1f}{piu:>9}{piu_took:7.1f}', flush=True)
        if piu == 'passed' or stock != 'passed':
            passed += 1
        else:
            failed += 1
            print(said)
    print(f'{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else ''))
    return failed > 0


if __name__ == '__main__':
    sys.exit(main())
