"""A process that prints a message."""
import piu as multiprocessing


def hello(name):
    print('hello', name)


if __name__ == '__main__':
    process = multiprocessing.Process(target=hello, args=('bob',))
    process.start()
    process.join()
