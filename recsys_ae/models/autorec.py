"""AutoRec: an autoencoder of rating vectors, of items or of users, trained on the observed ratings only."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Generator

from recsys_ae.core.autoencoder import Autoencoder
from recsys_ae.core.corruption import Masking
from recsys_ae.core.ensemble import Autoencoders
from recsys_ae.core.optimisers import OPTIMISERS, check_decay
from recsys_ae.core.sparse import SparseRows
from recsys_ae.core.trainer import Objective
from recsys_ae.declaration import OneOf
from recsys_ae.errors import ConfigError
from recsys_ae.models import training
from recsys_ae.models.rating_autoencoder import RatingAutoencoder, Widths
from recsys_ae.models.rating_scorers import ItemScorer, Scorer, Vectors


@dataclass
class AutoRec(RatingAutoencoder):
    """Autoencoder of rating vectors: each item's, with one entry per user (I-AutoRec), or each user's (U-AutoRec).

    Source: Sedhain et al. 2015, equations 1 and 2: squared error over the observed ratings plus l2/2 times the squared weights
    (without biases), identity output. Deviations, with the setting that turns each off: Adam on mini-batches instead of L-BFGS
    (`optimiser: lbfgs`); the bias of the vector's item or user is added to the output, so that the network learns residuals,
    and the output's own biases are regularised (`centring: none`); the units are centred (`activation: sigmoid`); inputs are
    scaled by the number of ratings (`scale_inputs: false`); columns with many ratings are regularised more (`l2_exponent: 0`);
    inputs may be dropped in training (`dropout: 0`). Output biases start at the mean rating, plus the column's bias with
    `centring: bias`.

    Attributes:
        output: `identity`, or `sigmoid` on ratings mapped to 0..1.
        tied: decoder and encoder share their weight matrices.
        scale_inputs: the inputs of a vector with n ratings are multiplied by sqrt(50 / n).
        optimiser: see `core.trainer.TrainConfig`.
    """

    output: Literal["identity", "sigmoid"] = "identity"
    tied: bool = False
    scale_inputs: bool = True
    optimiser: Annotated[str, OneOf("optimiser", OPTIMISERS)] = "adam"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output == "sigmoid" and self.centring != "none":
            raise ConfigError("autorec with a sigmoid output needs centring: none, because adding a bias leaves the range 0..1")
        check_decay(self.optimiser, self.learning_rate_decay)

    def _module(self, widths: Widths, generator: Generator | None) -> Autoencoders:
        networks = [
            Autoencoder(
                widths.columns,
                self.hidden,
                activation=self.activation,
                tied=self.tied,
                initial=self.init_std,
                output_activation=self.output,
                generator=generator,
            )
            for _ in range(self.networks)
        ]
        return Autoencoders(networks, self.scale_inputs)

    def _scorer_class(self) -> type[Scorer]:
        return Scorer if self.axis == "user" else ItemScorer

    def _objective(self, rows: SparseRows, vectors: Vectors, scorer: Scorer) -> Objective[Any, SparseRows]:
        penalty = training.Penalties((training.autoencoder_l2(self.l2, rows, self.l2_exponent), scorer.bias_penalty(rows)))
        corruption = Masking(self.dropout) if self.dropout else None
        return training.ObservedError(penalty, corruption, torch.from_numpy(vectors.row_bias))
