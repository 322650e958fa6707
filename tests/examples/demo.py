#!/usr/bin/env python3
"""usage: demo.py DEMO BUILD PYTHON

The demo on a small tree: both faces hash all of it, whatever the kill has hit, and a digest that
is wrong is told.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 120  # seconds
FILES = 400

# in place of the interpreter: the third program's first digest is another
LIAR = """#!/bin/sh
{python} "$@" || exit
[ "$1" = -m ] || exit 0
for list do :; done
sed -i '1s/^................/0123456789abcdef/' "$list"
"""


def make_tree(top):
    for i in range(FILES):
        path = top / f'dir{i % 7}' / f'file {i}'
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes([i % 256]) * (i * 997 % 100_000))


def run(demo, build, python, top):
    return subprocess.run([demo, build, python, top], capture_output=True, text=True,
                          timeout=LIMIT, check=False)


def main():
    demo, build, python = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        top, liar = Path(place) / 'tree', Path(place) / 'liar'
        top.mkdir()
        make_tree(top)
        good = run(demo, build, python, top)
        liar.write_text(LIAR.format(python=python))
        liar.chmod(0o755)
        bad = run(demo, build, liar, top)
    assert good.returncode == 0, good
    assert 'half-way: SIGKILL to worker' in good.stdout.split('-m piu')[1], good.stdout
    assert f'equal: {FILES} files by all three' in good.stdout, good.stdout
    assert bad.returncode == 1 and '1 DIFFER' in bad.stdout, bad
    print('2 passed, 0 failed')


if __name__ == '__main__':
    main()
