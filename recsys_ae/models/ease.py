"""EASE: the linear item-item autoencoder in closed form, plain or denoising."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from recsys_ae.core.linear import gram, invert
from recsys_ae.errors import ConfigError
from recsys_ae.interactions import Interactions, Rows, ones
from recsys_ae.models.base import Fitted, Floats, available_memory, fitted_state
from recsys_ae.models.sides import weighted_history


@dataclass
class EASE:
    """Scores are x B, x [M] being 1 where the user interacted with an item, and B [M, M] being fitted in closed form.

    B minimises the squared error of X B against X plus sum_ij l_i B_ij^2, with a diagonal of 0, so that an item cannot
    explain itself. Works for any user; an item without interactions has score 0.

    Source: Steck 2019, equation 8, for `dropout: 0`, where l_i = l2 for all items. With dropout p it is the denoising
    autoencoder whose inputs are hidden with probability p and whose loss is of the hidden ones only (EDLAE, Steck 2020,
    with emphasis a = 1, b = 0): l_i = l2 + p / (1 - p) * (interactions of item i).

    Memory: 6 M^2 bytes while fitting, 4 M^2 afterwards; time: about 0.7 M^3 multiplications and additions. `fit` refuses
    before it allocates anything if the memory is not there.

    Attributes:
        l2: regularisation, in interactions.
        dropout: p.
    """

    l2: Annotated[float, Field(gt=0)] = 1000.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    fitted: Fitted | None = field(default=None, init=False, repr=False)
    predicts_ratings: ClassVar[bool] = False

    def fit(
        self,
        train: Interactions,
        *,
        valid: Interactions | None = None,
        valid_history: Interactions | None = None,
        seed: int = 0,
        callbacks: Sequence[Any] = (),
    ) -> Self:
        _check_memory(train.n_items)
        inverse = gram(ones(train.matrix))
        diagonal = np.diag_indices(train.n_items)
        inverse[diagonal] += self.l2 + self.dropout / (1 - self.dropout) * inverse[diagonal]
        invert(inverse)
        weights = np.divide(inverse, -inverse[diagonal], out=inverse)
        weights[diagonal] = 0
        self.fitted = Fitted(train.items, user_ids=train.users.kind, arrays={"weights": weights})
        return self

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        return weighted_history(history.matrix[rows], fitted_state(self, history).arrays["weights"])


def _check_memory(n_items: int) -> None:
    needed, there = 6 * n_items**2, available_memory()
    if there is not None and needed > there:
        raise ConfigError(
            f"ease on {n_items} items needs {needed / 1e9:.1f} GB of memory, and {there / 1e9:.1f} GB are free; "
            "for so many items use rp3beta or itemknn, whose memory grows with the interactions"
        )
