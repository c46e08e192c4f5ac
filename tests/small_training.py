"""A small training of an autoencoder on fixed rows, and callbacks that stop and watch it."""

from dataclasses import dataclass

import torch

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.corruption import Masking
from recsys_ae.core.losses import squared_error
from recsys_ae.core.trainer import Callback

ROWS = torch.rand(30, 6, generator=torch.Generator().manual_seed(5))


@dataclass
class Reconstruction:
    l2: float = 0.0

    def loss(self, module, batch, generator):
        return squared_error(module(Masking(0.3)(batch, generator)), batch, torch.ones_like(batch))

    def penalty(self, module, batch):
        return len(batch) / len(ROWS) * self.l2 / 2 * module.input_weight.square().sum()


def module() -> Autoencoder:
    return Autoencoder(6, [4], generator=torch.Generator().manual_seed(1))


class Stop(Callback):
    """Simulates a crash after an epoch."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_epoch(self, training) -> None:
        if len(training.history) == self.after:
            raise KeyboardInterrupt


class Started(Callback):
    """Records how many epochs are done when training starts."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    def on_start(self, training) -> None:
        self.lengths.append(len(training.history))


class Plain(Reconstruction):
    """Without random numbers, so that only the order of rows could differ."""

    def loss(self, module, batch, generator):
        return squared_error(module(batch), batch)
