"""Two processes, with an argument each."""
import piu as multiprocessing


def greet(name):
    print(f'Hello, {name}!')


if __name__ == '__main__':
    alice = multiprocessing.Process(target=greet, args=('Alice',))
    bob = multiprocessing.Process(target=greet, args=('Bob',))
    alice.start()
    bob.start()
    alice.join()
    bob.join()
    print('Both are done.')
