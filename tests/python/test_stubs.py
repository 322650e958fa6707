"""The stubs: they name what there is, and mypy, where it is installed, agrees with typed.py."""

import ast
import importlib
import importlib.util
import os
import subprocess
import sys
import unittest
from pathlib import Path

import piu

PLACE = Path(piu.__file__).parent


def names_of(stub):
    for node in ast.parse(Path(PLACE, stub).read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield from (name.asname for name in node.names if name.asname)
        elif isinstance(node, ast.AnnAssign):
            yield node.target.id


class StubTest(unittest.TestCase):

    def test_all_that_is_public_is_in_the_stub_and_there(self):
        named = set(names_of('__init__.pyi'))
        self.assertLessEqual(set(piu.__all__), named)
        self.assertEqual([name for name in named if not hasattr(piu, name)], [])

    def test_what_the_stub_of_a_class_names_is_there(self):
        module = importlib.import_module('piu.synchronize')
        for node in ast.parse(Path(PLACE, 'synchronize.pyi').read_text()).body:
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    self.assertTrue(hasattr(getattr(module, node.name), method.name))

    def test_the_package_says_that_it_is_typed(self):
        self.assertTrue(Path(PLACE, 'py.typed').exists())

    @unittest.skipIf(importlib.util.find_spec('mypy') is None, 'mypy is not installed')
    def test_mypy_has_nothing_to_say(self):
        done = subprocess.run([sys.executable, '-m', 'mypy', '--strict', 'typed.py'],
                              env={**os.environ, 'MYPYPATH': str(PLACE.parent)},
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == '__main__':
    unittest.main()
