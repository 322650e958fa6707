"""torch: a DataLoader with workers that live on, a worker that is killed, tensors in queues."""

import os
import signal

import torch
import torch.multiprocessing
from torch.utils.data import DataLoader, Dataset


class Squares(Dataset):

    def __len__(self):
        return 64

    def __getitem__(self, i):
        return torch.tensor([float(i * i)])


class Deadly(Squares):

    def __getitem__(self, i):
        if i == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


def loads(method):
    loader = DataLoader(Squares(), batch_size=8, num_workers=2, persistent_workers=True,
                        pin_memory=False, multiprocessing_context=method)
    for _ in range(2):
        got = torch.cat(list(loader)).flatten().tolist()
        assert got == [float(i * i) for i in range(64)], method


def loses_a_worker(method):
    loader = DataLoader(Deadly(), batch_size=8, num_workers=2, multiprocessing_context=method)
    try:
        list(loader)
    except (OSError, EOFError):
        pass  # it died with a tensor sent whose descriptor was still to be asked of it
    except RuntimeError as error:
        assert 'DataLoader worker' in str(error), error
    else:
        raise AssertionError(method)


def double(given, back):
    tensor = given.get()
    tensor *= 2
    back.put(tensor.sum())
    back.put(torch.arange(1000))
    given.get()  # whose tensor is not yet got has to live: torch's rule


def shares_tensors(method):
    context = torch.multiprocessing.get_context(method)
    given, back = context.Queue(), context.SimpleQueue()
    process = context.Process(target=double, args=(given, back))
    process.start()
    tensor = torch.ones(1000)
    given.put(tensor)
    assert back.get().item() == 2000
    assert tensor[0].item() == 2  # one memory, and no copy
    assert back.get().sum().item() == 999 * 500
    given.put(None)
    process.join()
    assert process.exitcode == 0, method


def main():
    for method in 'fork', 'spawn':
        loads(method)
        loses_a_worker(method)
        shares_tensors(method)


if __name__ == '__main__':
    main()
