"""What all ranks but 0 do in data-parallel training, see `core.distributed`."""

from contextlib import suppress
from typing import Any

from torch import Generator

from recsys_ae.core.devices import device_named
from recsys_ae.core.distributed import Start, Team
from recsys_ae.core.optimisers import make_optimiser
from recsys_ae.core.trainer import Training, train_epoch
from recsys_ae.errors import RanksError, TrainingError


def follow(team: Team) -> None:
    """Take part in every training of rank 0, until it ends."""
    while (start := team.receive()) is not None:
        training = training_from(start, team)
        while (number := team.receive()) is not None:
            with suppress(TrainingError, RanksError):  # rank 0 gets the same error, and decides what to do
                train_epoch(training, start.objective, start.rows, number)


def training_from(start: Start, team: Team) -> Training[Any]:
    """The training that rank 0 has begun or resumed, in the same state."""
    module = start.module.to(device_named(start.config.device))
    optimiser = make_optimiser(start.config.optimiser, module, start.config.learning_rate)
    optimiser.load_state_dict(start.optimiser)
    generator = Generator()
    generator.set_state(start.generator)
    return Training(module, optimiser, generator, start.config, team=team)
