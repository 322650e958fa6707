"""usage: run.py [--only SUBSTRING] [--runs N] [--limit SECONDS] [--json FILE] [--list]

piu's Python face, the stdlib and other libraries, all of the same run: one table.  Each run is
an interpreter of its own, and the libraries take turns.  Rows whose part or name contains
SUBSTRING.  PYTHONPATH says where piu is.  Fails where piu or the stdlib does.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from pathlib import Path

from parts import PARTS

SAMPLE = Path(__file__).with_name('sample.py')
SCALE = {'ns': 1e9, 'us': 1e6, 'ms': 1e3, 'MB': 1e-6}  # of seconds, and of bytes
# with piu's bytecode kept, as that of an installed package is, and the stdlib's
ENVIRONMENT = {key: value for key, value in os.environ.items()
               if key != 'PYTHONDONTWRITEBYTECODE'}


class Line:
    """What one contender of a row has taken, run by run; NaN: that run failed."""

    def __init__(self, number):
        self.number = number
        self.runs = []
        self.absent = self.failure = ''

    @property
    def good(self):
        return [value for value in self.runs if value == value]

    def sample(self, limit):
        if self.absent or len(self.runs) - len(self.good) > 1:
            return
        said, failure = call([sys.executable, SAMPLE, *map(str, self.number)], limit)
        if said.startswith('absent'):
            self.absent = said
        elif failure:
            self.failure = failure
            self.runs.append(float('nan'))
        else:
            self.runs.append(float(said))


def call(command, limit):
    """(what it printed, why it failed)"""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True, env=ENVIRONMENT)
    try:
        said, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return '', f'over {limit:g} s'
    finally:  # it has a session of its own: it would outlive a run that is cut off
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode == 0:
        return said.strip(), ''
    return '', (errors.strip().splitlines() or [f'ended with {process.returncode}'])[-1]


def ratios_of(row, lines):
    """One for each run in which piu and all that it is compared with have a value."""
    others = [lines[name].runs for name in row.expected.against if not lines[name].absent]
    if not others:
        return []
    pairs = ((piu, min(rest)) for piu, *rest in zip(lines['piu'].runs, *others))
    ratios = (row.expected.ratio(piu, best) for piu, best in pairs)
    return [ratio for ratio in ratios if ratio == ratio]


def number(value):
    return f'{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}'


def print_line(name, row, line, verdict=''):
    if not line.good:
        print(f'    {name:34}        {line.absent or "failed: " + line.failure}')
        return
    scaled = [value * SCALE[row.unit] for value in line.good]
    span = f'{number(min(scaled))} - {number(max(scaled))}'
    print(f'    {name:34} {row.unit:3} {number(statistics.median(scaled)):>8}'
          f'  {span:19} {verdict}'.rstrip())
    if line.failure:  # the median is of the others
        print(f'    {"":34} {line.failure}')


def verdict_of(row, lines):
    """(words, met or not or None)"""
    if row.expected is None:
        return '', None
    ratios = ratios_of(row, lines)
    bound = f'{">=" if row.expected.faster else "<="} {row.expected.times:g}'
    against = ' or '.join(row.expected.against)
    if not ratios:
        return f'{"-":>7}  {bound:7} unknown {against}', None
    ratio = statistics.median(ratios)
    met = row.expected.is_met(ratio)
    return f'{number(ratio):>7}  {bound:7} {"met" if met else "NOT MET":7} {against}', met


def run_row(part, index, row, options):
    lines = {name: Line((part, index, i)) for i, name in enumerate(row.contenders)}
    for _ in range(options.runs):
        for name, line in lines.items():
            if sys.stderr.isatty():
                print(f'\r\033[K{row.name}: {name}', end='', file=sys.stderr, flush=True)
            line.sample(options.limit)
    if sys.stderr.isatty():
        print('\r\033[K', end='', file=sys.stderr, flush=True)
    return lines


def report(row, lines):
    """Prints; {...} for the JSON."""
    verdict, met = verdict_of(row, lines)
    print(f'  {row.name}')
    for name, line in lines.items():
        print_line(name, row, line, verdict if name == 'piu' else '')
    sys.stdout.flush()
    return {
        'name': row.name, 'unit': 'B' if row.unit == 'MB' else 's', 'met': met,
        'expected': row.expected and {
            'times': row.expected.times, 'faster': row.expected.faster,
            'against': row.expected.against, 'ratios': ratios_of(row, lines)},
        'contenders': {name: {'runs': line.good, 'absent': line.absent,
                              'failure': line.failure} for name, line in lines.items()},
    }


def chosen(only):
    for p, part in enumerate(PARTS):
        for i, row in enumerate(part.rows):
            if only in part.title or only in row.name:
                yield p, i, part, row


def machine():
    return (f'{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, '
            f'CPython {platform.python_version()}')


def run(options):
    rows, title = [], None
    print(machine())
    print(f'{"":38} unit  median  {"min - max":19} {"ratio":>7}  expected        against')
    for p, i, part, row in chosen(options.only):
        if part.title != title:
            title = part.title
            print(title)
        rows.append({'part': title, **report(row, run_row(p, i, row, options))})
    verdicts = [row['met'] for row in rows if row['expected']]
    print(f'\n{verdicts.count(True)} expectations met, {verdicts.count(False)} not met, '
          f'{verdicts.count(None)} unknown')
    if options.json:
        Path(options.json).write_text(
            json.dumps({'machine': machine(), 'rows': rows}, indent=1) + '\n')
    return any(not row['contenders'][name]['runs'] and not row['contenders'][name]['absent']
               for row in rows for name in ('piu', 'stdlib') if name in row['contenders'])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[1])
    parser.add_argument('--only', default='', metavar='SUBSTRING')
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--limit', type=float, default=20, metavar='SECONDS')
    parser.add_argument('--json', metavar='FILE')
    parser.add_argument('--list', action='store_true', help='the rows, and what they compare')
    options = parser.parse_args()
    if not options.list:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit('cut off'))
        return run(options)
    for _, _, part, row in chosen(options.only):
        print(f'{part.title}: {row.name}: {", ".join(row.contenders)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
