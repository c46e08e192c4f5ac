"""Autoencoders of what a user interacted with, under a multinomial likelihood: Mult-DAE and Mult-VAE."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from recsys_ae.core.autoencoder import ACTIVATIONS, Autoencoder
from recsys_ae.core.corruption import Masking
from recsys_ae.core.losses import LossSum, multinomial
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import Batch, Callback, TrainConfig, fit
from recsys_ae.core.variational import VariationalAutoencoder, kl_from_standard_normal, sample
from recsys_ae.interactions import Interactions, Rows, ones
from recsys_ae.models.base import Fitted, Floats, fitted_state
from recsys_ae.models.training import Sizes, as_sizes, load_weights, observed_rows, ranking_validation, weights_of


@dataclass(frozen=True)
class Denoising:
    """The multinomial loss of each user's items given some of them."""

    dropout: float
    l2: float

    def loss(self, module: nn.Module, batch: Batch, generator: Generator) -> LossSum:
        assert isinstance(batch, SparseRows)
        return multinomial(module(hide(batch, self.dropout, generator)), batch)

    def penalty(self, module: nn.Module, batch: Batch) -> Tensor:
        weights = [parameter.square().sum() for parameter in module.parameters() if parameter.ndim == 2]
        return len(batch) * self.l2 / 2 * torch.stack(weights).sum()


@dataclass(frozen=True)
class Variational:
    """That loss for a sampled code, plus beta times the divergence of the code's distribution from the standard normal one.

    `beta` rises in equal steps from 0 to its final value over the first `anneal` batches; the module counts them.
    """

    dropout: float
    beta: float
    anneal: int

    def loss(self, module: nn.Module, batch: Batch, generator: Generator) -> LossSum:
        assert isinstance(module, CountingVAE)
        assert isinstance(batch, SparseRows)
        mean, log_variance = module.encode(hide(batch, self.dropout, generator))
        found = multinomial(module.decode(sample(mean, log_variance, generator)), batch)
        module.batches += 1
        beta = self.beta * min(1.0, float(module.batches) / max(self.anneal, 1))
        return LossSum(found.total + beta * kl_from_standard_normal(mean, log_variance).sum(), found.count)

    def penalty(self, module: nn.Module, batch: Batch) -> Tensor:
        return torch.zeros(())


class CountingVAE(VariationalAutoencoder):
    """Knows how many batches it was trained on, also after a checkpoint."""

    batches: Tensor

    def __init__(self, width: int, hidden: Sequence[int], activation: str, generator: Generator | None) -> None:
        super().__init__(width, hidden, activation=activation, generator=generator)
        self.register_buffer("batches", torch.zeros(1, dtype=torch.int64))


def unit_rows(rows: SparseRows) -> SparseRows:
    """Each row divided by its length; what an autoencoder with a multinomial likelihood is shown. An empty row stays empty."""
    at = rows.row_of_entry()
    length = rows.values.new_zeros(len(rows)).index_add_(0, at, rows.values.square()).sqrt()
    return rows.with_values(rows.values / length.clamp(min=1e-12)[at])


def hide(rows: SparseRows, dropout: float, generator: Generator) -> SparseRows:
    """Unit rows of which a share is hidden and the rest scaled up."""
    shown = Masking(dropout)(unit_rows(rows), generator)
    assert isinstance(shown, SparseRows)
    return shown


@dataclass
class _Multinomial:
    """What the two models share: parameters of training, fitting, scoring."""

    activation: str = "tanh"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    epochs: Annotated[int, Field(ge=1)] = 100
    batch_size: Annotated[int, Field(ge=1)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    patience: Annotated[int, Field(ge=0)] = 10
    fitted: Fitted | None = field(default=None, init=False, repr=False)
    predicts_ratings: ClassVar[bool] = False

    def __post_init__(self) -> None:
        ACTIVATIONS.check(self.activation)
        self._built: tuple[Fitted, nn.Module] | None = None

    def _module(self, width: int, generator: Generator | None) -> nn.Module:
        raise NotImplementedError

    def _objective(self) -> Denoising | Variational:
        raise NotImplementedError

    def fit(
        self,
        train: Interactions,
        *,
        valid: Interactions | None = None,
        valid_history: Interactions | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
    ) -> Self:
        module = self._module(train.n_items, Generator().manual_seed(seed))
        fit(
            module,
            self._objective(),
            observed_rows(ones(train.matrix)),
            TrainConfig(self.epochs, self.batch_size, "adam", self.learning_rate, self.decay, self.patience, seed),
            valid=ranking_validation(lambda history, rows: _logits(module, history, rows), valid_history or train, valid),
            callbacks=callbacks,
        )
        self.fitted = Fitted(train.items, user_ids=train.users.kind, arrays=weights_of(module))
        return self

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        fitted = fitted_state(self, history)
        if self._built is None or self._built[0] is not fitted:
            module = self._module(len(fitted.items), None)
            load_weights(module, fitted.arrays)
            self._built = fitted, module
        return _logits(self._built[1], history, rows)


def _logits(module: nn.Module, history: Interactions, rows: Rows) -> Floats:
    seen = ones(history.matrix[rows])
    with torch.no_grad():
        logits: Tensor = module(unit_rows(SparseRows.from_arrays(seen.indptr, seen.indices, seen.data, seen.shape[1])))
    return logits.numpy()


@dataclass
class MultDAE(_Multinomial):
    """Denoising autoencoder whose output is a distribution over all items.

    Source: Liang et al. 2018, section 2.1 to 2.3 and 4.3: unit input rows of which half are hidden, log softmax output, L2.
    Values of interactions do not matter. Works for any user; one without history gets the same list as all such users.

    Attributes:
        hidden: sizes of the encoder's layers; the decoder mirrors them.
        l2: each user adds l2 / 2 * (sum of the squared weights, biases apart).
        activation, dropout: of the hidden layers; share of the inputs hidden in training.
        epochs, batch_size, learning_rate, decay, patience: see `core.trainer.TrainConfig`; patience is for 1 - NDCG@100.
    """

    hidden: Sizes = (200,)
    l2: Annotated[float, Field(ge=0)] = 0.01

    def _module(self, width: int, generator: Generator | None) -> nn.Module:
        return Autoencoder(width, as_sizes(self.hidden), activation=self.activation, generator=generator)

    def _objective(self) -> Denoising:
        return Denoising(self.dropout, self.l2)


@dataclass
class MultVAE(_Multinomial):
    """Variational autoencoder whose output is a distribution over all items.

    Source: Liang et al. 2018 (Mult-VAE^PR): as `multdae`, with a normal distribution of codes whose divergence from the
    prior counts `beta` times. Scores are of the mean code. Deviates: `beta` is given instead of searched along the annealing.

    Attributes:
        hidden: sizes of the encoder's layers, the last being the code; the decoder mirrors them.
        beta: final weight of the divergence.
        anneal: batches over which it rises from 0.
        activation, dropout: of the hidden layers; share of the inputs hidden in training.
        epochs, batch_size, learning_rate, decay, patience: see `core.trainer.TrainConfig`; patience is for 1 - NDCG@100.
    """

    hidden: Annotated[Sizes, Field(min_length=2)] = (600, 200)
    beta: Annotated[float, Field(ge=0)] = 0.2
    anneal: Annotated[int, Field(ge=0)] = 1000

    def _module(self, width: int, generator: Generator | None) -> nn.Module:
        return CountingVAE(width, as_sizes(self.hidden), self.activation, generator)

    def _objective(self) -> Variational:
        return Variational(self.dropout, self.beta, self.anneal)
