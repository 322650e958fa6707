"""usage: sample.py PART ROW CONTENDER, by number: one run, in an interpreter of its own.

Prints the seconds or bytes, or "absent" and why.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from parts import PARTS  # noqa: E402
from row import Absent  # noqa: E402


def main():
    part, row, contender = map(int, sys.argv[1:])
    run = list(PARTS[part].rows[row].contenders.values())[contender]
    try:
        print(repr(run()))
    except Absent as absent:
        print('absent', absent)


if __name__ == '__main__':
    main()
