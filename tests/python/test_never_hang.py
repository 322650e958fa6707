"""Each cell of the never-hang table (tests/python/never_hang) ends as it should."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / 'never_hang'))
import cell  # noqa: E402
import table  # noqa: E402


class NeverHangTest(unittest.TestCase):
    pass


def test_of(name):
    def test(self):
        verdict, said = table.run(name, 'piu', 2 * table.LIMIT)
        self.assertEqual(verdict, 'right', said)
    test.__doc__ = f'{cell.CELLS[name].subject}: {cell.CELLS[name].trouble}'
    return test


for name in cell.load():
    setattr(NeverHangTest, f'test_{name}', test_of(name))


if __name__ == '__main__':
    unittest.main()
