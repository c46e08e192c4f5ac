"""The interactions of a pipeline: loaded once, split for each of its seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from recsys_ae.data.cards import PlantedCard, RatingsCard
from recsys_ae.data.features import Side, with_features, with_unrated
from recsys_ae.data.ratings import Ratings, load_given_split, load_ratings
from recsys_ae.data.skipped import SkippedLines
from recsys_ae.declaration import Declared, validate, validate_params
from recsys_ae.errors import ConfigError, DataError, counted, did_you_mean
from recsys_ae.interactions import Interactions
from recsys_ae.split import Predict, Repeats, Split
from recsys_ae.splitting import SPLITS, default_repeats, latest_sessions, random, sample_per_user
from recsys_ae.splitting.parts import event_times
from recsys_ae.times import moment, span

EACH = "each"  # instead of the number of a fold or window: each seed of the pipeline takes the next one


class Sample(Declared):
    """At most `per_user` interactions of each user, drawn at random before the split; of a given split, only for training."""

    per_user: int = Field(ge=1)
    seed: int = Field(0, ge=0)


class GivenParams(Declared):
    """A split declared on the dataset's card, or several, of which each seed takes the next; see `Split` for the policies.

    `valid` is a share of the training part: drawn at random or, with `predict: next`, its latest sessions.
    """

    name: str | Annotated[list[str], Field(min_length=1)]
    valid: float = Field(0.0, ge=0, lt=1)
    seed: int = Field(0, ge=0)
    repeats: Repeats | None = None
    predict: Predict = "all"


def resolve_split(declared: dict[str, Any], seeds: int, where: str) -> dict[str, Any]:
    """Kind and parameters with defaults; a seed is among them only if it is declared, or if the seeds take different folds."""
    params = dict(declared)
    kind = params.pop("kind", None)
    if not isinstance(kind, str):
        raise ConfigError(f"{where}: split: key 'kind' is missing; known are: given, {', '.join(SPLITS)}")
    if kind != "given" and kind not in SPLITS:
        raise ConfigError(f"{where}: unknown split {kind!r}; {did_you_mean(kind, ['given', *SPLITS])}")
    place = f"{where}: split {kind}"
    if kind == "given":
        full = validate(GivenParams, params, place).model_dump()
        full["repeats"] = full["repeats"] or default_repeats(full["predict"])
        if isinstance(full["name"], list):
            _check_enough(seeds, len(full["name"]), "names", place)
    else:
        each = [key for key, value in params.items() if key in ("fold", "window") and value == EACH]
        full = validate_params(SPLITS.get(kind), {key: value for key, value in params.items() if key not in each}, place)
        for key in each:
            full[key] = EACH
            _check_enough(seeds, full["k"] if key == "fold" else full["windows"], f"{key}s", place)
        if each and "seed" in full:
            params.setdefault("seed", full["seed"])  # the folds are those of one draw
    return {"kind": kind, **{name: value for name, value in full.items() if name != "seed" or "seed" in params}}


def _check_enough(seeds: int, parts: int, what: str, where: str) -> None:
    if seeds > parts:
        raise ConfigError(f"{where}: each seed takes one of {parts} {what}, but there are {seeds} seeds; remove some")


@dataclass(frozen=True, eq=False)
class RatingData:
    """The dataset of a pipeline, with what is needed to split it.

    Attributes:
        folder: the folder of the card.
        declared: kind and parameters of the split, from `resolve_split`.
        seeds: the seeds of the pipeline.
        positive_at: ratings of at least this become 1 before anything else, and all others are dropped.
        sample: how much of this is kept; None for everything.
        sides: the sides whose features are loaded.
    """

    card: RatingsCard | PlantedCard
    folder: Path
    declared: dict[str, Any]
    seeds: Sequence[int]
    positive_at: float | None
    sample: Sample | None
    sides: Sequence[Side]

    def split(self, seed: int) -> Split:
        """The split for one seed of the pipeline, with features."""
        split = self._split(seed)
        if not self.sides:
            return split
        assert isinstance(self.card, RatingsCard)  # other data comes with its features
        return with_features(self.card, self.folder, split, self.sides)

    @property
    def redrawn(self) -> bool:
        """Whether each seed has a test part of its own."""
        several = isinstance(self.declared.get("name"), list) or EACH in (
            self.declared.get("fold"),
            self.declared.get("window"),
        )
        return several or ("seed" not in self.declared and self.declared["kind"] != "given")

    @cached_property
    def whole(self) -> Ratings:
        """The whole dataset as it is, before `positive_at`."""
        if self.declared["kind"] == "given":
            return Ratings(self._given(self.seeds[0]).everything)
        loaded = load_ratings(self.card, self.folder, skipped=self.skipped)
        return replace(loaded, interactions=self._with_unrated(loaded.interactions)) if self.sides else loaded

    @cached_property
    def skipped(self) -> SkippedLines:
        """Lines skipped while loading, see `bad_lines` of the card."""
        return SkippedLines()

    @cached_property
    def seen(self) -> Interactions:
        """What lists exclude: the whole dataset, and what can be read of the skipped lines."""
        return self.skipped.seen(self.whole.interactions)

    def _given(self, seed: int) -> Split:
        name = self.declared["name"]
        name = name if isinstance(name, str) else name[self.seeds.index(seed)]
        if name not in self._loaded:
            self._loaded.clear()
            split = load_given_split(self.card, self.folder, name, skipped=self.skipped)
            if self.sides:
                parts: dict[str, Any] = {name: self._with_unrated(part) for name, part in split.parts().items()}
                split = replace(split, **parts)
            self._loaded[name] = split
        return self._loaded[name]

    @cached_property
    def _loaded(self) -> dict[str, Split]:
        """The last given split by its name."""
        return {}

    def _with_unrated(self, data: Interactions) -> Interactions:
        assert isinstance(self.card, RatingsCard)
        return with_unrated(self.card, self.folder, data, self.sides)

    @cached_property
    def _positive(self) -> Interactions:
        return self._sampled(self._positives(self.whole.interactions))

    def _sampled(self, data: Interactions) -> Interactions:
        return data if self.sample is None else sample_per_user(data, self.sample.per_user, self.sample.seed)

    def _positives(self, data: Interactions) -> Interactions:
        if self.positive_at is None:
            return data
        positive = data.binarise(self.positive_at)
        if not len(positive):
            raise DataError(f"no rating is at least positive_at: {self.positive_at:g}; lower it")
        return positive

    def _split(self, seed: int) -> Split:
        params = {"seed": seed, **self.declared}
        kind = params.pop("kind")
        if kind == "given":
            given = self._given(seed)
            train, test = self._sampled(self._positives(given.train)), self._positives(given.test)
            if params["predict"] == "next":
                train, valid = latest_sessions(train, params["valid"])
            else:
                parts = random(train, test=0, valid=params["valid"], seed=params["seed"])
                train, valid = parts.train, parts.valid
            return Split(train, valid, test, "given", params, repeats=params["repeats"], predict=params["predict"])
        protocol = SPLITS.get(kind)
        if "seed" not in signature(protocol).parameters:
            del params["seed"]
        params |= {key: self.seeds.index(seed) for key in ("fold", "window") if params.get(key) == EACH}
        if (at := params.get("at")) is not None:
            _check_within(self._positive, at)
        split: Split = protocol(self._positive, **params)
        if not len(split.test):
            raise DataError(f"the {kind} split has an empty test part ({_empty(kind, params)}")
        return split


def _empty(kind: str, params: dict[str, Any]) -> str:
    """The end of the message about an empty test part: what its size depends on, and what to change."""
    latest = kind in ("leave_last", "last_session")  # of users with no more than is held out, nothing is
    keys = ("test", "valid") if latest else ("test", "fold_in")
    sizes = ", ".join(f"{key}: {params[key]}" for key in keys if key in params)
    return f"{sizes}); hold out {'less, because no user has more than this' if latest else 'more'}"


def counts_events(data: Interactions) -> bool:
    """Whether the rating of each pair is the number of its events."""
    return data.duplicates == "sum" and bool((data.stored_events.ratings == 1).all())


def _check_within(data: Interactions, at: str | float) -> None:
    """Raise `DataError` unless a cut at this moment leaves events on both sides."""
    times = event_times(data, "time_cut")
    if not times.min() < moment(at) <= times.max():
        side = f"before {at}" if moment(at) <= times.min() else f"at or after {at}"
        raise DataError(f"split time_cut: at: there is no event {side}; the events range from {span(times)}")


def about(data: Split, kind: str) -> str:
    """The data of a report in a line: users, items, kind of split, merged events, and the first and the last time."""
    parts = data.parts().values()
    found = [f"{data.train.n_users} users, {data.train.n_items} items", f"{kind} split"]
    if merged := sum(part.n_events - len(part) for part in parts):
        found.append(f"{counted(merged, 'repeated event')} merged")
    logs = [part if part.events is None else part.events for part in parts]
    times = [log.times for log in logs if log.times is not None and len(log.times)]
    if times:
        found.append(f"times from {span(np.array([end for own in times for end in (own.min(), own.max())]))} UTC")
    return "; ".join(found)
