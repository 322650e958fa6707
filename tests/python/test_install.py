"""What is installed is where the interpreter looks."""

import json
import os
import site
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ.get('MESON_BUILD_ROOT')
IMPORT = ('import sys; sys.path[:0] = sys.argv[1:]; import piu; '
          'print(piu.Lock().__module__, piu.__file__)')


def prefix():
    options = subprocess.check_output(['meson', 'introspect', BUILD, '--buildoptions'])
    return next(o['value'] for o in json.loads(options) if o['name'] == 'prefix')


@unittest.skipUnless(BUILD, 'it is for meson test')
class InstallTest(unittest.TestCase):

    def test_the_interpreter_finds_the_package(self):
        places = [p for p in site.getsitepackages() if p.startswith(prefix() + '/lib')]
        if not places:
            self.skipTest('this interpreter looks for nothing below the prefix')
        with tempfile.TemporaryDirectory() as root:
            subprocess.run(['meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', root],
                           check=True, stdout=subprocess.DEVNULL)
            # -I: without what PYTHONPATH says
            said = subprocess.run([sys.executable, '-I', '-c', IMPORT, *(root + p for p in places)],
                                  capture_output=True, text=True)
            self.assertTrue(said.stdout.startswith(f'piu.synchronize {root}/'), said)


if __name__ == '__main__':
    unittest.main()
