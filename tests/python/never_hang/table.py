#!/usr/bin/env python3
"""usage: table.py [--only TEXT] [--limit SECONDS] [LIBRARY]...

Prints the never-hang table: a row a cell (cell.py), a column a library.  Each cell runs as a
process and session of its own under a time limit, two at once.  `right`: the value or exception
that it should end with.  Without LIBRARY: the stdlib, piu, and those of billiard, multiprocess
that are installed.  The exit code says whether all of piu's are right.
"""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cell

HERE = Path(__file__).resolve().parent
LIMIT = 20.0  # seconds for the one that must not hang
LIMIT_OTHERS = 4.0
PEERS = ('billiard', 'multiprocess')
STDLIB = 'multiprocessing'


def end_session(process):
    """Also the orphans of a program that it started, which have a group of their own."""
    for pid in map(int, filter(str.isdecimal, os.listdir('/proc'))):
        try:
            if os.getsid(pid) == process.pid:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def run(name, library, limit):
    """'right', 'HANGS', or what it did instead; and all that it said."""
    process = subprocess.Popen([sys.executable, str(HERE / 'cell.py'), library, name],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True, text=True,
                               errors='replace', cwd=HERE)
    lines, deadline = [], time.monotonic() + limit

    def read():
        for line in process.stdout:
            lines.append(line)

    # what it leaves behind may have its output open: the end of the process counts
    with ThreadPoolExecutor(1) as reader:
        reader.submit(read)
        try:
            process.wait(max(0, deadline - time.monotonic()))
            hangs = False
        except subprocess.TimeoutExpired:
            hangs = True
        end_session(process)
        process.wait()
    said = ''.join(lines)
    ended = [line for line in lines if line.startswith(cell.MARK)]
    if not ended:
        return ('HANGS' if hangs else f'ended with {process.returncode}'), said
    verdict = cell.CELLS[name].judge(ended[-1][len(cell.MARK):].rstrip('\n'))
    return ('HANGS at its end' if hangs else verdict), said


def short(text, most=26):
    return text if len(text) <= most else text[:most - 3] + '...'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', default='')
    parser.add_argument('--limit', type=float, default=LIMIT_OTHERS)
    parser.add_argument('libraries', nargs='*')
    options = parser.parse_args()
    libraries = options.libraries or [STDLIB, 'piu'] + [
        name for name in PEERS if importlib.util.find_spec(name)]
    cells = [c for c in cell.load().values()
             if options.only in f'{c.name} {c.subject} {c.trouble}']
    width = max(len(c.subject) for c in cells) + 2
    trouble = max(len(c.trouble) for c in cells) + 2
    print(f'{"":{width}}{"":{trouble}}' + ''.join(f'{name:28}' for name in libraries))
    wrong, count = [], {name: 0 for name in libraries}
    with ThreadPoolExecutor(2) as runs:
        rows = [(c, [runs.submit(run, c.name, name, LIMIT if name == 'piu' else options.limit)
                     for name in libraries]) for c in cells]
        for c, futures in rows:
            verdicts = [future.result() for future in futures]
            print(f'{c.subject:{width}}{c.trouble:{trouble}}'
                  + ''.join(f'{short(verdict):28}' for verdict, _ in verdicts), flush=True)
            for name, (verdict, said) in zip(libraries, verdicts):
                count[name] += verdict == 'right'
                if name == 'piu' and verdict != 'right':
                    wrong.append((c, verdict, said))
    print(f'{"right, of " + str(len(cells)):{width + trouble}}'
          + ''.join(f'{count[name]:<28}' for name in libraries))
    for c, verdict, said in wrong:
        print(f'\n---- {c.name}: {verdict}\n{said}')
    return bool(wrong)


if __name__ == '__main__':
    sys.exit(main())
