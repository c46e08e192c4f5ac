"""A blend: several models fitted on the same data, combined with weights that are fitted on held-out interactions."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from scipy.sparse import vstack

from recsys_ae.core.devices import Device
from recsys_ae.core.trainer import Callback, Training
from recsys_ae.declaration import parameters
from recsys_ae.errors import ConfigError
from recsys_ae.fitted import Fitted
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import MODELS
from recsys_ae.models.base import (
    FitContext,
    Floats,
    Recommender,
    blocks_of,
    checked_pairs,
    checked_rows,
    finite_scores,
    fitted_on,
    fitted_state,
    rating_predictor,
)
from recsys_ae.models.experts import Experts, least_squares, standardised, weighted
from recsys_ae.models.recommend import scorable
from recsys_ae.models.storage import build_model
from recsys_ae.space import Space

logger = logging.getLogger(__name__)
FIT_USERS = 2000  # whose held-out items decide the weights of rankers: enough for a few numbers
FIT_SCORES = 2**24  # of each member in memory at a time; limits these users if there are more than 8,388 items
FEWEST_USERS = 200


def check_members(members: Any) -> Any:
    """The declarations of at least two models, as they were; `ValueError` otherwise."""
    if not isinstance(members, list | tuple):
        raise ValueError("a blend needs a list of members, such as [{name: ease}, {name: elsa}]")
    for number, member in enumerate(members):
        if not isinstance(member, Mapping):
            raise ValueError(f"member {number + 1} must be a model with its parameters, such as {{name: {member}}}")
        if not isinstance(member.get("name"), str):
            raise ValueError(f"member {number + 1} needs a `name`, the name of a model")
    if len(members) < 2:
        raise ValueError("a blend needs at least two members")
    return members


class Round(NamedTuple):
    """Members fitted on the interactions that are not held out."""

    models: list[Recommender]
    rest: Interactions
    held_out: Interactions


class _Stage(Callback):
    """Names the trainings of a member, and keeps the numbers of their best epochs."""

    def __init__(self, name: str) -> None:
        self.name, self.best = name, list[int]()

    def on_start(self, training: Training[Any]) -> None:
        training.stage = f"{self.name}-{training.stage}".rstrip("-")

    def on_end(self, training: Training[Any]) -> None:
        self.best.append(training.best.number if training.best else len(training.history))


Members = Annotated[tuple[dict[str, Any], ...], BeforeValidator(check_members)]


@dataclass
class Blend(Recommender):
    """Several models, its members, combined with weights that are fitted on interactions held out of the training data.

    In each of `folds` rounds, another `holdout` of the training data is held out at random, and the members are fitted on the
    rest. Members trained by gradient choose their best epoch there. The weights are those that predict the held-out
    interactions of all rounds best. Finally the members are fitted on the whole training data, for the mean of their best
    epochs. Neither a validation part given to `fit` nor test data has any influence.

    If all members predict ratings, so does the blend: the rating is sum_m w_m r_m, with the w >= 0 of sum 1 that minimise the
    squared error (Breiman 1996, stacked regressions). Otherwise members are experts (Hinton 2002): with z_m the scores of a
    user's items, standardised to mean 0 and variance 1 over the unseen ones, the score is sum_m w_m z_m (`product`), or the
    logarithm of sum_m w_m softmax(t_m z_m) (`mixture`). The w >= 0 of sum 1 are those with the best NDCG@100 on the held-out
    items; each t makes these most likely under the softmax of its member alone. Vancura & Kordik 2021 (VASP) multiply the
    outputs of a deep and a linear model; deviates in that members are trained apart, and weighted.

    Users and items without training data are treated by each member as it documents; of experts, those that cannot score a
    user are left out.

    Attributes:
        members: declarations of models as in a pipeline, each with a `name` and parameters.
        combine: see above; ignored if all members predict ratings.
        holdout: share of the interactions that are held out in a round.
        folds: number of rounds; folds * holdout may be at most 1. Each round fits every member once more.
        device: of members that have one and do not declare it.
    """

    members: Members = ({"name": "elsa"}, {"name": "ease"})
    combine: Literal["product", "mixture"] = "product"
    holdout: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    folds: Annotated[int, Field(ge=1)] = 1
    device: Device = "cpu"
    space: ClassVar[Space] = {"combine": ["product", "mixture"]}
    validation_name: ClassVar[str] = "valid_error"  # each member has its own

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folds * self.holdout > 1 + 1e-9:
            raise ConfigError(f"blend: {self.folds} folds of {self.holdout:g} are more than everything; lower one of them")
        models = self._new_members()
        self.members = tuple(map(_with_defaults, self.members, models))
        if ordered := [number for number, model in enumerate(models) if "order" in model.needs]:
            name = self.members[ordered[0]]["name"]
            raise ConfigError(
                f"blend: {name} predicts what comes next, which interactions held out at random cannot judge; leave it out"
            )
        self._rates = all(model.predicts_ratings for model in models)
        self._needs = frozenset().union(*(model.needs for model in models))

    @property
    def predicts_ratings(self) -> bool:
        return self._rates

    @property
    def needs(self) -> frozenset[str]:
        return self._needs

    def _new_members(self) -> list[Recommender]:
        """The members, not fitted."""
        models = []
        for member in self.members:
            name, params = member["name"], {key: value for key, value in member.items() if key != "name"}
            if hasattr(MODELS.get(name), "device"):
                params = {"device": self.device, **params}
            models.append(build_model(name, params, "blend: member"))
        return models

    def _fit(self, train: Interactions, context: FitContext) -> Fitted:
        models, starts = self._new_members(), self._starts(context.before)
        seeds = [int(np.random.SeedSequence([context.seed, number]).generate_state(1)[0] >> 1) for number in range(len(models))]
        epochs: list[list[int]] = [[] for _ in models]
        rounds = self._rounds(train, seeds, epochs, context)
        experts = self._of_ratings(rounds) if self._rates else self._of_rankings(rounds, context.seed)
        for number, (model, start) in enumerate(zip(models, starts, strict=True)):
            if (best := epochs[number]) and hasattr(model, "epochs"):  # a blend among the members finds those of its own
                model = models[number] = replace(cast(Any, model), epochs=round(fmean(best)), patience=0)
            callbacks = [_Stage(self._stage(number)), *context.callbacks]
            model.fit(train, seed=seeds[number], callbacks=callbacks, warm_start=start)
        logger.info("blend: the weights are %s", ", ".join(f"{weight:.3f}" for weight in experts.weights))
        arrays: dict[str, NDArray[Any]] = {"weights": experts.weights, "sharpness": experts.sharpness}
        own = []
        for number, model in enumerate(models):
            fitted = fitted_state(model)
            arrays |= {f"{number}.{name}": array for name, array in fitted.arrays.items()}
            own.append({"name": self.members[number]["name"], "ids": sorted(fitted.ids), "meta": dict(fitted.meta)})
        about = fitted_on(train, arrays, keep_users=True, keep_scale=self._rates)
        return replace(about, meta={**about.meta, "members": own})

    def _rounds(
        self, train: Interactions, seeds: Sequence[int], epochs: list[list[int]], context: FitContext
    ) -> Iterator[Round]:
        """The rounds, one after the other, which append the best epoch of each member to `epochs`."""
        order, size = np.random.default_rng(context.seed).permutation(len(train)), round(self.holdout * len(train))
        for fold in range(self.folds if size else 0):
            held = np.zeros(len(train), bool)
            held[order[fold * size : (fold + 1) * size]] = True
            rest, held_out, models = train.filter(~held), train.filter(held), self._new_members()
            for number, (model, seed) in enumerate(zip(models, seeds, strict=True)):
                stage = _Stage(f"fold-{fold + 1}-{self._stage(number)}")
                model.fit(rest, valid=held_out, seed=seed, callbacks=[stage, *context.callbacks])
                epochs[number] += stage.best[:1]
            yield Round(models, rest, held_out)

    def _stage(self, number: int) -> str:
        return f"{number + 1}-{self.members[number]['name']}"

    def _of_ratings(self, rounds: Iterable[Round]) -> Experts:
        e = len(self.members)
        gram, correlation = np.zeros((e, e)), np.zeros(e)
        for models, rest, held_out in rounds:
            pairs = held_out.user_rows(), held_out.item_rows()
            ratings = [rating_predictor(model).predict_rows(rest, *pairs) for model in models]
            found = np.stack(ratings, 1).astype(np.float64)
            gram, correlation = gram + found.T @ found, correlation + found.T @ held_out.matrix.data
        return Experts("product", least_squares(gram, correlation), np.ones(e))

    def _of_rankings(self, rounds: Iterable[Round], seed: int) -> Experts:
        rng, e = np.random.default_rng(seed), len(self.members)
        z: list[list[Floats]] = [[] for _ in range(e)]
        seen, relevant = [], []
        for models, rest, held_out in rounds:
            able = np.flatnonzero((np.diff(held_out.matrix.indptr) > 0) & (np.diff(rest.matrix.indptr) > 0))
            n = min(FIT_USERS, max(FEWEST_USERS, FIT_SCORES // rest.n_items)) // self.folds + 1
            rows = np.sort(rng.permutation(able)[:n])
            for own, one in zip(z, _standardised(models, rest, rows), strict=True):
                own.append(one)
            seen.append(rest.matrix[rows])
            relevant.append(held_out.matrix[rows])
        if not sum(part.nnz for part in relevant):
            return Experts(self.combine, np.full(e, 1 / e), np.ones(e))
        of_all = [np.concatenate(own) for own in z]
        return Experts.fit(self.combine, of_all, *(vstack(parts, format="csr") for parts in (seen, relevant)))

    def _starts(self, before: Fitted | None) -> list[Recommender | None]:
        """The fitted members to start from."""
        if before is None:
            return [None] * len(self.members)
        names = [member["name"] for member in self.members], [one["name"] for one in before.meta["members"]]
        if names[0] != names[1]:
            raise ConfigError(f"the blend to start from has the members {', '.join(names[1])}; use one with the same members")
        return [*self._restored(before)]

    def _restored(self, fitted: Fitted) -> list[Recommender]:
        """The fitted members in the state of a blend."""
        models = self._new_members()
        for number, (model, own) in enumerate(zip(models, fitted.meta["members"], strict=True)):
            prefix = f"{number}."
            arrays = {name.removeprefix(prefix): value for name, value in fitted.arrays.items() if name.startswith(prefix)}
            model.fitted = Fitted(arrays, {name: fitted.ids[name] for name in own["ids"]}, own["meta"])
        return models

    def fitted_members(self, *histories: Interactions) -> list[Recommender]:
        """The fitted members; see `fitted_state` for the check of histories."""
        return self.derived(self._restored, *histories)

    def _experts(self) -> Experts:
        arrays = fitted_state(self).arrays
        return Experts(self.combine, arrays["weights"], arrays["sharpness"])

    def can_score(self, history: Interactions, rows: Rows) -> NDArray[np.bool_]:
        """bool [B]: users whom a member can score."""
        rows = checked_rows(history, rows)
        return np.any([scorable(model, history, rows, "skip") for model in self.fitted_members(history)], axis=0)

    def scores(self, history: Interactions, rows: Rows) -> Floats:
        rows = checked_rows(history, rows)
        models, experts = self.fitted_members(history), self._experts()
        if not self._rates:
            return experts.scores(_standardised(models, history, rows))
        return weighted(experts.weights, [model.scores(history, rows) for model in models])

    def predict_rows(self, history: Interactions, user_rows: Rows, item_rows: Rows) -> Floats:
        pairs = checked_pairs(history, user_rows, item_rows)
        models, experts = self.fitted_members(history), self._experts()
        ratings = [rating_predictor(model).predict_rows(history, *pairs) for model in models]
        return weighted(experts.weights, ratings)


def _with_defaults(member: Mapping[str, Any], model: Recommender) -> dict[str, Any]:
    """The declaration of a model with all its parameters; `device` only if it has one."""
    own = {key: value for key, value in parameters(model).items() if key != "device" or key in member}
    return {"name": member["name"], **own}


def _standardised(models: Iterable[Recommender], history: Interactions, rows: Rows) -> list[Floats]:
    """Standardised scores of each model for the users at `rows`, [B, M] each; 0 for users whom it cannot score."""
    found = []
    for model in models:
        own = np.zeros((len(rows), history.n_items), np.float32)
        able = np.flatnonzero(scorable(model, history, rows, "skip"))
        for block in blocks_of(able, history.n_items):
            own[block] = standardised(finite_scores(model, history, rows[block]), history.matrix[rows[block]])
        found.append(own)
    return found
