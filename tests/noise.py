"""Examples that there is nothing to learn from."""

import torch

from neural_branching.data.tensor_data import TensorDataModule


class Noise(TensorDataModule):
    """Inputs and labels that have nothing to do with each other."""

    def __init__(self, batch_size: int = 8, train: int = 40) -> None:
        super().__init__(batch_size, seed=0)
        draw = torch.Generator().manual_seed(0)
        self.train, self.validation = (
            (torch.randn(n, 4, generator=draw), torch.randint(0, 3, (n,), generator=draw))
            for n in (train, 30)
        )
