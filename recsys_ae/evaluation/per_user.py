"""Files of values per user, from which intervals and comparisons are computed, with the protocol of these values."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from recsys_ae.declaration import error_context, validate
from recsys_ae.digests import digest_of
from recsys_ae.errors import ConfigError, DataError, did_you_mean, quoted, reason
from recsys_ae.evaluation.metrics import parse_metric
from recsys_ae.evaluation.protocols.protocol import Protocol
from recsys_ae.files import strict_json, whole_file
from recsys_ae.ids import id_index
from recsys_ae.parquet import read_parquet, write_parquet

USER, RATINGS, SEGMENT = "user_id", "ratings", "segment:"
REMEDY = "make the file again"
KEY = b"recsys_ae"  # in the metadata of the Parquet schema


@dataclass(frozen=True, eq=False, repr=False)
class PerUser:
    """The values per user of one model, as `Report.to_frame` gives them; the protocol is None if it is unknown."""

    values: pd.DataFrame
    protocol: Protocol | None

    @property
    def metrics(self) -> list[str]:
        """The metrics for all items; those for groups of items have a `|` in the names of their columns."""
        names = [name for name in map(str, self.values.columns) if name not in (USER, RATINGS)]
        return [name for name in names if not name.startswith(SEGMENT) and "|" not in name]

    @property
    def segments(self) -> list[str]:
        """The segments by whose groups there are values, see `evaluation.segments`."""
        names = list(map(str, self.values.columns))
        of_users = [name.removeprefix(SEGMENT) for name in names if name.startswith(SEGMENT)]
        return list(dict.fromkeys([*of_users, *(name.partition("|")[2].partition("=")[0] for name in names if "|" in name)]))

    def by(self, segment: str) -> dict[str, pd.DataFrame]:
        """The values of each group of users, or for each group of items, of one of the `segments`."""
        column, infix = f"{SEGMENT}{segment}", f"|{segment}="
        if column in self.values:
            labels = self.values[column].astype("category")
            return {str(group): self.values[labels == group] for group in labels.cat.categories}
        places = [name.partition(infix) for name in map(str, self.values.columns) if infix in name]
        return {
            group: self.values[[USER, *("".join(place) for place in places if place[2] == group)]].rename(
                columns={"".join(place): place[0] for place in places}
            )
            for group in dict.fromkeys(group for _, _, group in places)
        }

    def write(self, path: Path) -> None:
        """Write a Parquet file, whole or not at all."""
        about = asdict(_About(self.protocol, _digest(self.values, self.protocol)))
        table = pa.Table.from_pandas(self.values, preserve_index=False)
        table = table.replace_schema_metadata({KEY: json.dumps(about).encode()})
        with whole_file(path) as draft:
            write_parquet(table.schema, [table], draft)

    @classmethod
    def read(cls, path: Path) -> "PerUser":
        """The content of a file of any origin; `DataError` if it is not a table of metrics by user."""
        table = read_parquet(path)
        with error_context(str(path)):
            values, about = table.replace_schema_metadata(None).to_pandas(), _about(table)
            if about is not None and _digest(values, about.protocol) != about.digest:
                raise DataError(f"it is damaged: its content has changed; {REMEDY}")
            found = cls(values, None if about is None else about.protocol)
            if USER not in found.values:
                raise DataError(f"there is no column {USER!r}; {did_you_mean(USER, table.column_names)}")
            id_index(found.values[USER], f"column {USER!r}")
            _check_metrics(found)
        return found


@dataclass(frozen=True)
class _About:
    """What the metadata of a file of ours say: pages have checksums in Parquet, but names of columns and groups have not."""

    protocol: Protocol | None
    digest: str


def _about(table: pa.Table) -> _About | None:
    """The metadata of a table; None if it is not ours."""
    if (kept := (table.schema.metadata or {}).get(KEY)) is None:
        return None
    try:
        return validate(_About, strict_json(kept.decode()), "its description")
    except (ConfigError, ValueError, RecursionError) as error:
        raise DataError(f"it is damaged: {reason(error)}; {REMEDY}") from None


def _digest(values: pd.DataFrame, protocol: Protocol | None) -> str:
    """Content hash (32 hex digits) of names, values and protocol."""

    def content() -> Iterator[str | bytes]:
        yield json.dumps([list(values.columns), protocol and protocol.digest])
        for name in values:
            column = values[name]
            if pd.api.types.is_numeric_dtype(column):
                yield column.to_numpy("<f8" if pd.api.types.is_float_dtype(column) else "<i8").tobytes()
            else:
                yield json.dumps(column.astype(str).tolist())

    return digest_of(content())


def _check_metrics(found: PerUser) -> None:
    """Raise `DataError` unless there are metrics, with finite numbers where there are values."""
    if not found.metrics:
        raise DataError("there are no metrics of users, such as a column 'ndcg@10'")
    for name in found.metrics:
        try:
            rates = parse_metric(name).k is None
        except ConfigError as error:
            raise DataError(f"column {quoted(name)} is not a metric: {error}") from None
        if rates and RATINGS not in found.values:
            raise DataError(f"{name} needs the column {RATINGS!r}, the number of ratings of each user")
        column = found.values[name]
        if not pd.api.types.is_float_dtype(column) or np.isinf(column).any():
            raise DataError(f"column {quoted(name)} must hold finite numbers, or NaN for users who do not count")
