"""A row of the table: one thing measured with several libraries, and what is expected of piu."""

from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Expected:
    """piu's value is `times` of the best of `against`, at most; or, with `faster`, the best has
    `times` of piu's, at least."""

    times: float
    against: tuple
    faster: bool = False

    def ratio(self, piu, other):
        return other / piu if self.faster else piu / other

    def is_met(self, ratio):
        return ratio >= self.times if self.faster else ratio <= self.times


def faster(times, *against):
    return Expected(times, against, faster=True)


def at_most(times, *against):
    return Expected(times, against)


@dataclass(frozen=True)
class Row:
    name: str
    unit: str
    contenders: dict[str, Callable[[], float]]  # by label; each is one run: seconds, or bytes
    expected: Expected | None = None

    def __post_init__(self):
        if self.expected and not set(self.expected.against) <= set(self.contenders):
            raise ValueError(f'{self.name}: compared with what it does not have')


@dataclass(frozen=True)
class Part:
    title: str
    rows: tuple


class Absent(Exception):
    """What would be measured is not installed, or not to be had with this interpreter."""
