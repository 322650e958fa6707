"""Each test that the guide names is there, and each difference names one."""

import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / 'never_hang'))
import cell  # noqa: E402

HERE = Path(__file__).resolve().parent
GUIDE = HERE.parent.parent / 'docs' / 'guide' / 'from-multiprocessing.md'


class GuideTest(unittest.TestCase):

    def test_the_tests_that_it_names_are_there(self):
        tests = {name for file in HERE.glob('test_*.py')
                 for name in re.findall(r'def (test_\w+)', file.read_text())}
        tests |= {'test_' + name for name in cell.load()}
        self.assertEqual(set(re.findall(r'`(test_\w+)`', GUIDE.read_text())) - tests, set())

    def test_each_difference_names_one(self):
        for row in GUIDE.read_text().split('## What differs')[1].splitlines():
            if row.startswith('| ') and not row.startswith('| The stdlib | piu'):
                self.assertRegex(row, r'`test_\w+`.*\|$')


if __name__ == '__main__':
    unittest.main()
