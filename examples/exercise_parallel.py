"""Exercise 1: two processes that run different functions, side by side."""
import piu as multiprocessing


def count_primes(limit):
    primes = 0
    for n in range(2, limit):
        divisor = 2
        while divisor * divisor <= n and n % divisor:
            divisor += 1
        primes += divisor * divisor > n
    print(primes, 'primes are below', limit)


def count_steps(start):
    n, steps = start, 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    print(start, 'takes', steps, 'steps of Collatz to 1')


if __name__ == '__main__':
    primes = multiprocessing.Process(target=count_primes, args=(200000,))
    steps = multiprocessing.Process(target=count_steps, args=(837799,))
    primes.start()
    steps.start()
    primes.join()
    steps.join()
    print('Both are done.')
