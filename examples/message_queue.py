"""A queue that brings a message from a child."""
import piu as multiprocessing


def child(queue):
    queue.put('hello from the child')


if __name__ == '__main__':
    queue = multiprocessing.Queue()
    process = multiprocessing.Process(target=child, args=(queue,))
    process.start()
    print(queue.get())
    process.join()
