"""coverage: what only children run is covered, in a Process and in workers of a Pool."""

import importlib
import sys
import tempfile
from pathlib import Path

import coverage

PROGRAM = '''
import multiprocessing

def in_process():
    return 1

def in_worker(value):
    return value

def main():
    process = multiprocessing.Process(target=in_process)
    process.start()
    process.join()
    pool = multiprocessing.Pool(2)
    pool.map(in_worker, range(20))
    pool.close()
    pool.join()
'''
RC = '[run]\nconcurrency = multiprocessing\nparallel = true\ndata_file = {}/data\n'
ONLY_IN_CHILDREN = {5, 8}


def main():
    with tempfile.TemporaryDirectory() as place:
        program, rc = Path(place) / 'covered_program.py', Path(place) / 'rc'
        program.write_text(PROGRAM)
        rc.write_text(RC.format(place))
        sys.path.insert(0, place)
        cover = coverage.Coverage(config_file=str(rc))
        cover.start()
        importlib.import_module('covered_program').main()
        cover.stop()
        cover.save()
        cover.combine()
        lines = set(cover.get_data().lines(str(program)))
        assert ONLY_IN_CHILDREN <= lines, lines


if __name__ == '__main__':
    main()
