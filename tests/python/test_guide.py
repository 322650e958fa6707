"""Each test that the guide names is there, each difference names one, and its recipe works."""

import functools
import os
import re
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / 'never_hang'))
import cell  # noqa: E402
import children  # noqa: E402
import piu  # noqa: E402

HERE = Path(__file__).resolve().parent
GUIDE = HERE.parent.parent / 'docs' / 'guide' / 'from-multiprocessing.md'
HEAD = ['The stdlib', 'piu', 'Why', 'Test']


def tests():
    return {name for file in HERE.glob('test_*.py')
            for name in re.findall(r'def (test_\w+)', file.read_text())} | set(cell.load())


def die_once(place, x):
    """At the first call with this x."""
    try:
        os.close(os.open(Path(place, str(x)), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return x
    children.die()


def die_always(x):
    children.die()


class GuideTest(unittest.TestCase):

    def test_the_tests_that_it_names_are_there(self):
        self.assertEqual(set(re.findall(r'`(test_\w+)`', GUIDE.read_text())) - tests(), set())

    def test_each_difference_names_one(self):
        there = tests()
        for row in GUIDE.read_text().split('## What differs')[1].splitlines():
            cells = re.split(r' *\| *', row)[1:-1]
            if len(cells) == 4 and cells != HEAD and cells[0] != '---':
                names = re.findall(r'`(\w+)`', cells[3])
                self.assertTrue(names and there.issuperset(names), row)

    def test_the_recipe_does_again_what_was_lost(self):
        text, = re.findall(r'```python\n(.*?)```', GUIDE.read_text(), re.S)
        names = {'piu': piu}
        exec(text, names)
        with tempfile.TemporaryDirectory() as place, piu.Pool(2) as pool:
            again = names['map_with_retries']
            once = functools.partial(die_once, place)
            self.assertEqual(again(pool, once, range(4)), [0, 1, 2, 3])
            self.assertRaises(piu.WorkerLost, again, pool, die_always, [1])


if __name__ == '__main__':
    unittest.main()
