"""Exercise 3: a bank account, shared by two processes and protected by a lock."""
import piu as multiprocessing


def book(lock, balance, bookings, amount):
    for _ in range(10000):
        with lock:
            balance.value += amount
            bookings.value += 1


if __name__ == '__main__':
    lock = multiprocessing.Lock()
    balance = multiprocessing.Value('l', 100, lock=False)
    bookings = multiprocessing.Value('l', 0, lock=False)
    pay_in = multiprocessing.Process(target=book, args=(lock, balance, bookings, +5))
    pay_out = multiprocessing.Process(target=book, args=(lock, balance, bookings, -3))
    pay_in.start()
    pay_out.start()
    pay_in.join()
    pay_out.join()
    print('balance', balance.value, 'after', bookings.value, 'bookings')
