"""A class of processes: with a name, its own data and its own run()."""
import sys

import piu as multiprocessing


class Counter(multiprocessing.Process):
    def __init__(self, name, first, last):
        super().__init__(name=name)
        self.first = first
        self.last = last

    def run(self):
        print(f'{self.name} counts:', *range(self.first, self.last + 1))
        sys.exit(self.last)


if __name__ == '__main__':
    counter = Counter('Count Dracula', 1, 5)
    counter.start()
    counter.join()
    print(counter.name, 'ended with exit code', counter.exitcode)
