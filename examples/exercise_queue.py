"""Exercise 2: a queue between two processes, a producer and a consumer."""
import piu as multiprocessing


def produce(queue):
    for number in range(1, 6):
        queue.put(number)
    queue.put(None)  # that was all


def consume(queue):
    while (number := queue.get()) is not None:
        print('got', number)
    print('the producer is done')


if __name__ == '__main__':
    queue = multiprocessing.Queue(maxsize=2)
    producer = multiprocessing.Process(target=produce, args=(queue,))
    consumer = multiprocessing.Process(target=consume, args=(queue,))
    producer.start()
    consumer.start()
    producer.join()
    consumer.join()
