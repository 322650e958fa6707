"""The stubs name what there is; mypy, where it is installed, agrees with typed.py."""

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


def stubs():
    """(module, its stub) of each."""
    for path in PLACE.glob('*.pyi'):
        name = 'piu' if path.stem == '__init__' else 'piu.' + path.stem
        yield importlib.import_module(name), ast.parse(path.read_text())


def names_of(stub):
    """Those that are public, of a module or a class."""
    return [name for name in all_names_of(stub) if not name.startswith('_')]


def all_names_of(stub):
    for node in stub.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield from (name.asname for name in node.names if name.asname)
        elif isinstance(node, ast.AnnAssign):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets)


def methods_of(node):
    return [method.name for method in node.body if isinstance(method, ast.FunctionDef)]


class StubTest(unittest.TestCase):

    def test_what_they_name_is_there(self):
        for module, stub in stubs():
            for name in names_of(stub):
                self.assertTrue(hasattr(module, name), (module, name))
            for node in stub.body:
                if isinstance(node, ast.ClassDef):
                    for name in methods_of(node):
                        self.assertTrue(hasattr(getattr(module, node.name), name),
                                        (node.name, name))

    def test_all_that_is_public_is_in_them(self):
        for module, stub in stubs():
            if not any(isinstance(node, ast.ImportFrom) and node.names[0].name == '*'
                       for node in stub.body):  # those have what the stdlib's has
                self.assertLessEqual(set(module.__all__), set(names_of(stub)), module)

    def test_all_that_is_public_is_typed(self):
        used = {node.attr for node in ast.walk(ast.parse(Path('typed.py').read_text()))
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and
                node.value.id == 'piu'}
        self.assertLessEqual(set(piu.__all__), used)

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
