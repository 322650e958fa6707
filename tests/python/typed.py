"""Is what the stubs say the truth?  `mypy --strict` has nothing to say to this file."""

import piu
from piu import synchronize


def square(x: int) -> int:
    return x * x


lock: synchronize.Lock = piu.Lock()
with lock:
    died: int = lock.owner_died
held: bool = lock.acquire(timeout=1.5)
semaphore: synchronize.Semaphore = piu.Semaphore(2, recover=True)
condition: synchronize.Condition = piu.Condition(lock)
barrier: synchronize.Barrier = piu.Barrier(2, action=lambda: None)
process = piu.Process(target=square, args=(1,))
with piu.Pool(2) as pool:
    squares: list[int] = pool.map(square, [1, 2, 3])
try:
    piu.install()
except piu.WorkerLost as error:
    lost: tuple[int, str, bool | None] = error.pid, error.arguments, error.oom
print(piu.__version__, piu.cpu_count(), piu.get_context('spawn'), piu.TimeoutError)
