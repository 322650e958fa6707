"""torch: a DataLoader with workers that live on, by fork and by spawn."""

import torch
from torch.utils.data import DataLoader, Dataset


class Squares(Dataset):

    def __len__(self):
        return 64

    def __getitem__(self, i):
        return torch.tensor([float(i * i)])


def main():
    for method in 'fork', 'spawn':
        loader = DataLoader(Squares(), batch_size=8, num_workers=2, persistent_workers=True,
                            multiprocessing_context=method)
        for _ in range(2):
            got = torch.cat(list(loader)).flatten().tolist()
            assert got == [float(i * i) for i in range(64)], method


if __name__ == '__main__':
    main()
