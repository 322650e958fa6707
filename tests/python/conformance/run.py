#!/usr/bin/env python3
"""usage: run.py [--suite NAME]... [--jobs N] [--only TEXT] [PYTHON]...

CPython's own multiprocessing tests and those of concurrent.futures that start processes, with piu in place of the stdlib's package: by piu.install()
("alias") and as another name for it ("import-as").  What the stdlib passes in the same run piu must
pass, save the methods in `differences`.  Without PYTHON: each CPython from 3.11 on that has
headers and test files.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[2]
SUITES = ['fork', 'spawn', 'forkserver', 'main_handling', 'futures']
MODES = {'alias': ['--hook', 'piu:install'], 'import-as': []}
FACTS = '''
import json, os, sys, sysconfig
print(json.dumps(dict(
    version=list(sys.version_info[:3]),
    path=os.path.realpath(sys.executable),
    headers=os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")),
    tests=os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "test",
                                      "_test_multiprocessing.py")),
    library=sysconfig.get_path("stdlib"))))
'''


def facts_of(python):
    done = subprocess.run([python, '-I', '-c', FACTS], capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def interpreters():
    """The paths of those that can be tested, each once."""
    found = {}
    names = ['/usr/bin/python3'] + [shutil.which(f'python3.{minor}') for minor in range(11, 20)]
    for name in filter(None, names):
        facts = facts_of(name)
        if facts and facts['version'] >= [3, 11] and facts['headers'] and facts['tests']:
            found.setdefault(facts['path'], facts)
    return list(found)


def build_for(python, version):
    """The directory where `import piu` finds the package for this interpreter."""
    build = TREE / f'build-python-{version}'
    if not (build / 'build.ninja').exists():
        subprocess.run(['meson', 'setup', build, f'-Dpython={python}', '-Dpython_only=true',
                        '--buildtype=release'], cwd=TREE, check=True,
                       stdout=subprocess.DEVNULL)
    subprocess.run(['meson', 'compile', '-C', build], check=True, stdout=subprocess.DEVNULL)
    # links lead out of the overlay that the tests run in
    copy = build / 'conformance'
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(build / 'python' / 'piu', copy / 'piu')
    return copy


def futures_tests(library):
    """concurrent.futures' test modules: one, from 3.12 on a package of them; '': not there."""
    package = Path(library, 'test', 'test_concurrent_futures')
    if package.with_suffix('.py').exists():
        return 'test.test_concurrent_futures'
    return ','.join(sorted('test.test_concurrent_futures.' + file.stem
                           for file in package.glob('test_*.py')))


def outcomes(python, substitute, options, log):
    """{test: outcome}"""
    log.unlink(missing_ok=True)
    subprocess.run([sys.executable, HERE / 'run_cpython_suite.py', substitute,
                    '--python', python, '--retry', '--json', log, *options],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    results = json.loads(log.read_text())['results']
    return {name: result['outcome'] for name, result in results.items()}


def known_differences():
    lines = (HERE / 'differences').read_text().splitlines()
    return {line.split()[0] for line in lines if line.startswith('test_')}


def check(python, given):
    facts = facts_of(python)
    version = '.'.join(map(str, facts['version']))
    package = build_for(python, version)
    options = ['--jobs', given.jobs, '--test-timeout', '60']
    if given.suite == 'futures':
        if not futures_tests(facts['library']):
            print(f'python {version} futures: these tests are not installed')
            return 0, 0
        options += ['--suite', futures_tests(facts['library']), '--only', 'Process']
    else:
        options += ['--suite', given.suite] + (['--only', given.only] if given.only else [])
    log = package.parent / 'conformance.json'
    stock = outcomes(python, 'stock', options, log)
    can = [name for name, outcome in stock.items() if outcome == 'pass']
    known, bad = known_differences(), 0
    for mode, more in MODES.items():
        ours = outcomes(python, 'piu', ['--path', package, '--mode', mode, *more, *options], log)
        not_passed = [name for name in can if ours.get(name) != 'pass']
        differ = [name for name in not_passed if name.rsplit('.', 1)[1] in known]
        for name in not_passed:
            if name not in differ:
                print(f'FAILED  {version} {mode} {name}: {ours.get(name, "not run")}')
        print(f'python {version} {given.suite} {mode}: of {len(can)} that the stdlib passes '
              f'{len(can) - len(not_passed)} pass, {len(differ)} differ as written down, '
              f'{len(not_passed) - len(differ)} fail', flush=True)
        bad += len(not_passed) - len(differ)
    return bad, 2 * len(can) - bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[1])
    parser.add_argument('--suite', action='append', choices=SUITES, help='default: all')
    parser.add_argument('--jobs', default=str(2 * os.cpu_count()))
    parser.add_argument('--only', default='', help='classes whose name contains this')
    parser.add_argument('python', nargs='*')
    given = parser.parse_args()
    suites = given.suite or SUITES
    failed = passed = 0
    for python in given.python or interpreters():
        for given.suite in suites:
            bad, good = check(python, given)
            failed, passed = failed + bad, passed + good
    print(f'{passed} passed, {failed} failed')
    return failed > 0 or passed == 0


if __name__ == '__main__':
    sys.exit(main())
