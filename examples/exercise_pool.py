"""Exercise 4: a pool over a list of numbers: which of them are prime?"""
import piu as multiprocessing


def smallest_factor(n):
    factor = 2
    while factor * factor <= n:
        if n % factor == 0:
            return factor
        factor += 1
    return n


if __name__ == '__main__':
    numbers = [112272535095293, 112582705942171, 115280095190773,
               115797848077099, 117450548693743, 1099726899285419]
    with multiprocessing.Pool() as pool:  # a process for each CPU
        for n, factor in zip(numbers, pool.map(smallest_factor, numbers)):
            print(n, 'is prime' if factor == n else f'is {factor} times {n // factor}')
