"""What a pipeline file says about the search of parameters, and the combinations of listed values."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from recsys_ae.declaration import Declared, parameters, validate
from recsys_ae.errors import ConfigError, quoted
from recsys_ae.space import Range, Space

MAX_COMBINATIONS = 10**9
EXPECTED = "a list of values or a range, such as {low: 10, high: 1000, log: true}"


class SearchSpec(Declared):
    """The search of each model that has something to search, by one metric on the validation part.

    Attributes:
        trials: the most fits of one model with one seed.
        by: the metric; None for the one that chooses the best model.
        sampler: `random` tries all combinations of listed values, or `trials` random ones if there are more; `tpe` is the
            search of `recsys-ae tune`, which learns from earlier trials, and searches the model's own space by default.
        timeout: seconds after which the search of one model with one seed starts no more trials; only with `tpe`.
        jobs: trials that run in parallel, each in a process of its own with a share of the cores; only with `tpe`.
    """

    trials: int = Field(default=20, ge=1)
    by: str | None = None
    sampler: Literal["random", "tpe"] = "random"
    timeout: Annotated[float, Field(gt=0)] | None = None
    jobs: int = Field(default=1, ge=1, le=256)

    def check(self, spaces: Mapping[str, Space | None], where: str) -> None:
        """Raise `ConfigError` if the spaces of the models, by label, cannot be searched like this."""
        if self.sampler == "tpe":
            if find_spec("optuna") is None:
                raise ConfigError(f"{where}: search needs Optuna; install it with: pip install 'recsys-ae[tune]'")
            if not any(spaces.values()):
                raise ConfigError(f"{where}: no model has parameters to search; give one a `search`, or use recsys-ae run")
            return
        for key, value in (("timeout", self.timeout), ("jobs", self.jobs - 1)):
            if value:
                raise ConfigError(f"{where}: search.{key} needs search.sampler: tpe, which recsys-ae tune sets")
        for label, space in spaces.items():
            if ranges := [key for key, values in (space or {}).items() if isinstance(values, Range)]:
                raise ConfigError(
                    f"{where}: {label}: search.{ranges[0]} is a range, which needs recsys-ae tune (search.sampler: tpe); "
                    "use that, or list values"
                )


def read_space(declared: Any, build: Callable[[dict[str, Any], str], Any], place: str) -> Space:
    """The space that an entry of a pipeline declares as its `search`.

    Args:
        build: the model with some of its parameters changed; the second argument begins the messages of its errors.

    Raises:
        ConfigError: something other than lists and ranges, or a value that the model does not allow.
    """
    if not isinstance(declared, dict) or not all(values and isinstance(values, list | dict) for values in declared.values()):
        raise ConfigError(f"search must give each parameter {EXPECTED}, got {quoted(declared)}")
    space: dict[str, Range | list[Any]] = {}
    for key, values in declared.items():
        at = f"{place}: search.{key}"
        space[key] = values if isinstance(values, list) else validate(Range, values, at)
        if isinstance(values, list) and any(value in values[:position] for position, value in enumerate(values)):
            raise ConfigError(f"search.{key} has a value twice: {quoted(values)}")
        built = [getattr(build({key: value}, f"{at} of"), key) for value in extremes(space[key])]
        if isinstance(space[key], Range) and isinstance(built[0], bool | str | None):
            raise ConfigError(f"search.{key} must be a list of values, because the parameter is not a number")
    if prod(len(values) for values in space.values() if isinstance(values, list)) > MAX_COMBINATIONS:
        raise ConfigError(f"search has more than {MAX_COMBINATIONS} combinations of values")
    return space


def shipped_space(model: Any) -> Space:
    """The space of a model's class, extended to the parameters that this model has."""
    own = parameters(model)
    space: dict[str, Range | list[Any]] = {}
    for key, values in model.space.items():
        given = own[key]
        if isinstance(values, Range):
            space[key] = values.including(given)
        else:
            space[key] = values if given in values else [*values, given]
    return space


def extremes(values: Range | list[Any]) -> list[Any]:
    """The values to check before a search: all listed ones, or both ends of a range."""
    return [values.low, values.high] if isinstance(values, Range) else values


def declared_space(space: Space) -> dict[str, Any]:
    """The `search` of an entry of a pipeline, from which `read_space` reads the space."""
    return {
        key: values.model_dump(exclude_defaults=True) if isinstance(values, Range) else values for key, values in space.items()
    }


def combinations(space: Space, trials: int, seed: int) -> list[dict[str, Any]]:
    """The combinations of listed values to try: all of them in order, or `trials` random ones if there are more."""
    lists = {key: values for key, values in space.items() if isinstance(values, list)}
    shape = [len(values) for values in lists.values()]
    total = prod(shape)
    chosen = range(total) if total <= trials else sorted(np.random.default_rng(seed).choice(total, trials, replace=False))
    places = [np.unravel_index(number, shape) for number in chosen]
    return [{key: values[at] for (key, values), at in zip(lists.items(), place, strict=True)} for place in places]
