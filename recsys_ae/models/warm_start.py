"""What a fit takes over from a fitted model that it starts from."""

from typing import Any

import numpy as np

from recsys_ae.errors import ConfigError
from recsys_ae.fitted import Fitted
from recsys_ae.ids import IdMap
from recsys_ae.interactions import Interactions
from recsys_ae.models.side_information import FEATURE_TABLES, stored_features, used_features


def check_features(model: Any, before: Fitted | None, train: Interactions) -> None:
    """Raise `ConfigError` if the state to start from has learned from other feature tables or columns than `model` would."""
    if before is None:
        return
    used, known = used_features(model, train), frozenset(name for name in FEATURE_TABLES["both"] if name in before.meta)
    if hasattr(model, "features") and used != known:
        here, there = (next(side for side, tables in FEATURE_TABLES.items() if tables == own) for own in (used, known))
        raise ConfigError(
            f"the model to start from was fitted with `features: {there}`, but this fit would have `features: {here}`; "
            "give it the same features, or fit a new model"
        )
    for name in known:
        earlier, table = stored_features(before, name), getattr(train, name)
        if earlier is not None and table is not None and list(earlier.columns) != list(table.columns):
            raise ConfigError(
                f"the model to start from was fitted on other columns of {name}; encode them alike with "
                f"FeatureTable.from_frame(frame, earlier.{name}.features)"
            )


def copy_matching_rows(new: Any, old: Any, new_ids: IdMap, old_ids: IdMap) -> None:
    """Copy the rows of `old` (array or tensor) to the rows of `new` [n, ...] with the same ids; other rows stay as they are.

    Raises:
        ConfigError: the rows have another shape.
    """
    if new.shape[1:] != old.shape[1:]:
        raise ConfigError(f"the model to start from has rows of shape {tuple(old.shape[1:])}, not {tuple(new.shape[1:])}")
    rows = old_ids.find(new_ids.values)
    known = np.flatnonzero(rows >= 0)
    new[known] = old[rows[known]]
