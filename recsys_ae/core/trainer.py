"""The one training loop: shuffled batches, early stopping on validation, best weights restored, exact resume."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from math import inf, isfinite
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import torch
from torch import Generator, Tensor, nn

from recsys_ae.core.devices import Device, device_named, device_of, exact_convolutions, multiplies_bfloat16
from recsys_ae.core.distributed import Team, team_for
from recsys_ae.core.kernels.compiled import working_seconds
from recsys_ae.core.losses import LossSum
from recsys_ae.core.optimisers import FULL_BATCH, Optimiser, check_decay, make_optimiser
from recsys_ae.core.shares import sharing
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.threads import threads_for
from recsys_ae.errors import ConfigError, TrainingError


class Batch(Protocol):
    """Training examples of any kind."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor) -> Self:
        """The examples at `index` (int64 [b]), in that order."""

    def to(self, device: torch.device) -> Self:
        """The same examples on a device."""


M = TypeVar("M", bound=nn.Module)
B = TypeVar("B", bound=Batch)
M_contra = TypeVar("M_contra", bound=nn.Module, contravariant=True)
B_contra = TypeVar("B_contra", bound=Batch, contravariant=True)
Validation = Callable[[], float]
Precision = Literal["auto", "float32", "bfloat16"]
PART = 2048  # rows of a full batch that are processed at a time


class Objective(Protocol[M_contra, B_contra]):
    """Minimises the sum of `loss` and `penalty` over batches.

    An attribute `sampled = True` says that its cost is proportional to the stored entries of sparse rows; see `_work`. An
    attribute `separable = True` says that loss and penalty are sums over the rows of a batch, which may be empty, and that
    random numbers come from `core.shares`; several processes can then train together.
    """

    def loss(self, module: M_contra, batch: B_contra, generator: Generator) -> LossSum: ...

    def penalty(self, module: M_contra, batch: B_contra) -> Tensor:
        """This batch's share of an epoch's regularisation, a scalar."""
        return torch.zeros(())


class EpochObjective(Protocol[M_contra, B_contra]):
    """Takes its own steps, for models where a call per batch would cost more than the arithmetic."""

    def epoch(self, module: M_contra, rows: B_contra, learning_rate: float, generator: Generator) -> LossSum:
        """Make one pass over `rows` and return the loss along the way, without penalties."""


@dataclass(frozen=True)
class Phase(Generic[M, B]):
    """`passes` over all rows for one objective in each epoch, then a call of `after`."""

    objective: Objective[M, B]
    passes: int = 1
    after: Callable[[M], None] | None = None


@dataclass(frozen=True)
class AlternatingObjective(Generic[M, B]):
    """Phases of each epoch, for modules whose parts are trained alternately."""

    phases: Sequence[Phase[M, B]]


AnyObjective = Objective[M, B] | EpochObjective[M, B] | AlternatingObjective[M, B]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training.

    Attributes:
        epochs: maximum number of passes over the rows.
        batch_size, optimiser: rows per batch, and a name in `core.optimisers`; not used by an `EpochObjective`.
        learning_rate: of the first epoch.
        learning_rate_decay: factor on the learning rate after each epoch; must be 1 for `rprop`, which would ignore it.
        patience: stop after this many epochs without a better validation value; 0 never stops early.
        seed: of the order of rows, corruption and sampling.
        precision: of dense matrix products in the loss: `float32`; `bfloat16`, about twice as fast where the hardware has it;
            or `auto`, which is `bfloat16` on such hardware. Weights, sums, sparse layers and scoring are always float32.
        reduction: minimise the `sum` or the `mean` over the rows of a batch. Scale-invariant optimisers such as
            Adam do not depend on it; the learning rate of plain SGD is usually given for the mean.
        device: `cpu`, `cuda`, or `auto`, which is the GPU if there is one; the module is on the CPU again afterwards. Random
            numbers are the same on both; sums on a GPU may differ in the last digits from run to run.
    """

    epochs: int
    batch_size: int
    optimiser: str = "adam"
    learning_rate: float = 1e-3
    learning_rate_decay: float = 1.0
    patience: int = 0
    seed: int = 0
    precision: Precision = "float32"
    reduction: Literal["sum", "mean"] = "sum"
    device: Device = "cpu"

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
        check_decay(self.optimiser, self.learning_rate_decay)

    @classmethod
    def of(cls, model: Any, **others: Any) -> Self:
        """The settings that are parameters of a model, and `others`, which come first."""
        own = {item.name: getattr(model, item.name) for item in fields(cls) if hasattr(model, item.name)}
        return cls(**{**own, **others})


@dataclass(frozen=True)
class Epoch:
    """An epoch in the history: number from 1, mean loss per entry, validation value (lower is better), seconds."""

    number: int
    loss: float
    valid: float | None
    seconds: float


@dataclass
class Training(Generic[M]):
    """State of a training, as held by checkpoints; `stage` is its name if a model needs several trainings.

    `team`: the processes that train together, if there are several.
    """

    module: M
    optimiser: Optimiser
    generator: Generator
    config: TrainConfig
    stage: str = ""
    history: list[Epoch] = field(default_factory=list)
    best_weights: dict[str, Tensor] | None = None
    team: Team | None = None

    @property
    def best(self) -> Epoch | None:
        """The first epoch with the lowest validation value."""
        validated = [epoch for epoch in self.history if epoch.valid is not None]
        return min(validated, key=lambda epoch: inf if epoch.valid is None else epoch.valid, default=None)

    @property
    def finished(self) -> bool:
        done = len(self.history)
        waited = done - self.best.number if self.best else 0
        return done >= self.config.epochs or 0 < self.config.patience <= waited


class Callback:
    """Training hooks. All are no-ops; override those you need."""

    def on_start(self, training: "Training[Any]") -> None:
        """Called before the first epoch; may restore an earlier state."""

    def on_epoch(self, training: "Training[Any]") -> None:
        """Called after each epoch; it is the last in `training.history`."""

    def on_end(self, training: "Training[Any]") -> None:
        """Called after the last epoch, with the final weights in the module."""


def fit(
    module: M,
    objective: AnyObjective[M, B],
    rows: B,
    config: TrainConfig,
    *,
    valid: Validation | None = None,
    callbacks: Sequence[Callback] = (),
    stage: str = "",
) -> list[Epoch]:
    """Train `module` in place and return its history.

    With `valid`, the module ends with the weights of the epoch with the lowest validation value.

    Args:
        rows: all training rows, on the CPU; batches are moved to the device.
        valid: called after each epoch, with the module in evaluation mode.
        stage: name of this training, if a model needs several; passed to callbacks.

    Raises:
        TrainingError: the loss, a weight or the validation value is no longer finite.
    """
    module.to(device_named(config.device))
    generator = Generator().manual_seed(config.seed)
    optimiser, team = make_optimiser(config.optimiser, module, config.learning_rate), team_for(*_objectives(objective))
    training = Training(module, optimiser, generator, config, stage, team=team)
    for callback in callbacks:
        callback.on_start(training)
    with nullcontext() if team is None else team.led(training, objective, rows):
        while not training.finished:
            _next_epoch(training, objective, rows, valid)
            for callback in callbacks:
                callback.on_epoch(training)
    if training.best_weights is not None:
        module.load_state_dict(training.best_weights)
    module.eval().cpu()
    for callback in callbacks:
        callback.on_end(training)
    return training.history


@exact_convolutions()
def _next_epoch(training: Training[M], objective: AnyObjective[M, B], rows: B, valid: Validation | None) -> None:
    """Train and validate for another epoch, and record it in the history."""
    module, started, number = training.module, working_seconds(), len(training.history) + 1
    if training.team is not None:
        training.team.send(number)
    loss, value = train_epoch(training, objective, rows, number), None
    if valid is not None:
        module.eval()
        with torch.no_grad():
            value = float(valid())
    if value is not None and not isfinite(value):
        raise _diverged(f"the validation value is {value} in epoch {number}", training.config)
    training.history.append(Epoch(number, loss, value, working_seconds() - started))
    best = training.best
    if best is not None and best.number == number:
        training.best_weights = {name: weight.clone() for name, weight in module.state_dict().items()}


def train_epoch(training: Training[M], objective: AnyObjective[M, B], rows: B, number: int) -> float:
    """One pass over the rows; returns the mean loss per entry. `TrainingError` if the loss or a weight is not finite."""
    module, config = training.module, training.config
    with threads_for(_work(module, objective, rows, config)):
        loss = _run_epoch(training, objective, rows, number)
    if not all(isfinite(float(weight.sum())) for weight in module.state_dict().values()):
        raise _diverged(f"a weight is no longer finite after epoch {number}", config)
    if training.team is not None:
        training.team.check_equal(module, number)
    return loss


def _objectives(objective: AnyObjective[M, B]) -> list[Any]:
    """The objectives of all phases, or the single one."""
    return [phase.objective for phase in objective.phases] if isinstance(objective, AlternatingObjective) else [objective]


def _work(module: nn.Module, objective: AnyObjective[M, B], rows: B, config: TrainConfig) -> float:
    """Rough number of multiplications in the forward pass of a batch."""
    size = len(rows) if config.optimiser in FULL_BATCH else min(config.batch_size, len(rows))
    work = float(size * sum(weight.numel() for weight in module.parameters()))
    if isinstance(rows, SparseRows) and getattr(objective, "sampled", False):
        work *= len(rows.columns) / (len(rows) * rows.width)
    return inf if hasattr(objective, "epoch") else work


def _run_epoch(training: Training[M], objective: AnyObjective[M, B], rows: B, number: int) -> float:
    """Mean loss per entry over one pass, without the penalty."""
    config = training.config
    rate = config.learning_rate * config.learning_rate_decay ** (number - 1)
    training.module.train()
    if hasattr(objective, "epoch"):
        loss = objective.epoch(training.module, rows, rate, training.generator)
        total, count = float(loss.total), float(loss.count)
    else:
        total, count = 0.0, 0.0
        for phase in objective.phases if isinstance(objective, AlternatingObjective) else [Phase(objective)]:
            for _ in range(phase.passes):
                more, entries = _run_batches(training, phase.objective, rows, rate)
                total, count = total + more, count + entries
            if phase.after is not None:
                phase.after(training.module)
    if not isfinite(total):
        raise _diverged(f"the loss is {total} in epoch {number}", config)
    return total / max(count, 1.0)


def _diverged(problem: str, config: TrainConfig) -> TrainingError:
    return TrainingError(f"{problem}; try a lower learning_rate (now {config.learning_rate:g})")


def _run_batches(training: Training[M], objective: Objective[M, B], rows: B, rate: float) -> tuple[float, float]:
    """One optimiser step per batch; returns sum and count of the losses."""
    module, optimiser, config = training.module, training.optimiser, training.config
    for group in optimiser.param_groups:
        group["lr"] = rate
    device = device_of(module)
    in_bfloat16 = config.precision == "bfloat16" or (config.precision == "auto" and multiplies_bfloat16(device))
    total, count = 0.0, 0.0
    whole = config.optimiser in FULL_BATCH
    order = torch.randperm(len(rows), generator=training.generator) if not whole else None
    for batch in [rows] if order is None else parts_of(rows, config.batch_size, order):
        losses: list[LossSum] = []
        before = training.generator.get_state()

        def closure(batch: B = batch, losses: list[LossSum] = losses, before: Tensor = before) -> Any:
            optimiser.zero_grad()
            training.generator.set_state(before)  # L-BFGS calls again and compares values, which must be of one function
            value, summed, entries = torch.zeros(()), torch.zeros(()), torch.zeros(())
            for part in parts_of(batch, PART) if whole else [batch]:
                loss, penalty = _loss(training, objective, part.to(device), in_bfloat16)
                minimised = loss.total + penalty
                if config.reduction == "mean":
                    minimised = minimised / len(batch)
                minimised.backward()
                value = value + minimised.detach()
                summed, entries = summed + loss.total.detach(), entries + loss.count
            if training.team is not None:
                value, summed, entries = training.team.add_up(module, (value, summed, entries))
            losses.append(LossSum(summed, entries))
            return value

        optimiser.step(closure)
        total += float(losses[0].total)  # of the first call, before the step
        count += float(losses[0].count)
    return total, count


def _loss(training: Training[M], objective: Objective[M, B], batch: B, in_bfloat16: bool) -> tuple[LossSum, Tensor]:
    """Loss and penalty of a batch on the device, or of this process's share of it."""
    module, device, share = training.module, device_of(training.module), None
    if training.team is not None:
        share = training.team.share(batch)
        batch = batch[torch.arange(share.first, share.last, device=device)]
    with sharing(share), torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16):
        loss = objective.loss(module, batch, training.generator)
    return loss, objective.penalty(module, batch)


def parts_of(rows: B, size: int, order: Tensor | None = None) -> Iterator[B]:
    """Consecutive parts of the rows, or parts in an order (int64 [N])."""
    for index in (torch.arange(len(rows)) if order is None else order).split(size):
        yield rows[index]
