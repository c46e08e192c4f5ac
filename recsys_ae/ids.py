"""External ids and their rows: the indices by which everything else refers to users and items."""

from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from recsys_ae.errors import DataError, UnknownIdError

Rows = NDArray[np.int64]
CANONICAL_INTEGER = r"^(0|-?[1-9][0-9]{0,18})\z"


class IdMap:
    """A one-to-one map between external ids, which are all integers (int64) or all strings, and rows.

    Args:
        ids: unique ids; the position of each is its row.

    Raises:
        DataError: ids of another type, of mixed types, or repeated.
    """

    def __init__(self, ids: ArrayLike | pd.Index | pd.Series) -> None:
        self._index = _id_index(ids)
        if not self._index.is_unique:
            repeated = self._index[self._index.duplicated()][0]
            raise DataError(f"ids must be unique, but {shown(repeated)} occurs more than once")

    @property
    def kind(self) -> Literal["int", "str"]:
        """The type of the ids."""
        return "int" if self._index.dtype == np.int64 else "str"

    @property
    def values(self) -> NDArray[Any]:
        """All ids in row order: int64, or object holding str."""
        return self._index.to_numpy()

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, external: object) -> bool:
        return external in self._index

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, IdMap) and self.kind == other.kind and self._index.equals(other._index))

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"IdMap({len(self)} {self.kind} ids)"

    def rows(self, external: ArrayLike | pd.Series) -> Rows:
        """Rows of the given ids, int64 [n]; `UnknownIdError` names the first unknown one."""
        rows = self.find(external)
        if len(missing := np.flatnonzero(rows < 0)):
            unknown = f"{shown(_id_index(external)[missing[0]])} ({len(missing)} of {len(rows)}"
            raise UnknownIdError(f"unknown id {unknown} are not among the {len(self)} known)")
        return rows

    def find(self, external: ArrayLike | pd.Series) -> Rows:
        """Rows of the given ids, int64 [n], -1 where unknown.

        Raises:
            DataError: the ids are of another type than the map's, so that none would be found.
        """
        index = _id_index(external)
        if len(index) and index.dtype != self._index.dtype:
            raise DataError(f"ids here are of type {self.kind}, got {shown(index[0])}")
        return self._index.get_indexer(index).astype(np.int64, copy=False)

    @cached_property
    def digest(self) -> str:
        """Content hash (32 hex digits) of the ids in their order."""
        if self.kind == "int":
            content = self.values.astype("<i8").tobytes()
        else:
            content = b"".join(len(raw).to_bytes(8, "little") + raw for raw in map(str.encode, self.values))
        return blake2b(self.kind.encode() + content, digest_size=16).hexdigest()


def shown(external: Any) -> str:
    """An id as a message shows it: 7, not np.int64(7); 'a' in quotes."""
    return repr(external.item() if isinstance(external, np.generic) else external)


def _id_index(ids: Any) -> pd.Index:
    """`ids` as a pandas index of dtype int64 or of strings."""
    if isinstance(ids, str) or np.ndim(ids) != 1:
        raise DataError(f"expected a list of ids, got {ids!r}")
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":  # the common case: no copy
        if ids.dtype == np.uint64 and len(ids) and ids.max() > np.iinfo(np.int64).max:
            raise DataError(f"integer ids must fit in a signed 64-bit integer, got {ids.max()}; use strings")
        return pd.Index(ids.astype(np.int64, copy=False))
    index = pd.Index(np.asarray(ids, dtype=object) if isinstance(ids, (list, tuple)) else ids)
    if isinstance(index, pd.CategoricalIndex):
        index = index.astype(index.categories.dtype)
    if len(index) == 0:
        return pd.Index(index, dtype=np.int64 if index.dtype.kind in "iu" else "str")
    if index.hasnans:
        raise DataError("ids must not be missing")
    inferred = pd.api.types.infer_dtype(index, skipna=False)
    if inferred not in ("integer", "string"):
        raise DataError(f"ids must be all integers or all strings, got {inferred} ids such as {shown(index[0])}")
    return pd.Index(index, dtype=np.int64 if inferred == "integer" else "str")


def encode(column: pd.Series, known: IdMap | None) -> tuple[Rows, IdMap]:
    """Rows of a column of ids, and their map: `known`, or else the sorted distinct ids."""
    if (missing := column.isna().to_numpy()).any():
        raise DataError(f"column {column.name!r} has no id in row {missing.argmax()} of the table")
    if known is not None:
        return known.rows(column), known
    try:
        rows, distinct = pd.factorize(column, sort=True)
    except TypeError:
        problem = "mixes ids of several types; they must be all integers or all strings"
        raise DataError(f"column {column.name!r} {problem}") from None
    return rows.astype(np.int64, copy=False), IdMap(distinct)


def ids_in_text(texts: pa.Array, kind: Literal["int", "str"] | None = None) -> tuple[pa.Array, NDArray[np.bool_]]:
    """The ids that a column of text holds, given its distinct values: int64 if all are canonical integers, else the text.

    A canonical integer is written as Python prints it: 7 and -7, but not 07, +7, -0, 7.0 or ' 7'. Text is kept exactly.

    Args:
        texts: string [n], all values of the column; what is decided from a part of it may be wrong for the rest.
        kind: the type if it is known; None decides as above.

    Returns:
        int64 or string [n], and bool [n]: which values are no ids. They are empty, or no canonical integers of 64 bits under
        the kind `int`.
    """
    canonical = pc.match_substring_regex(texts, CANONICAL_INTEGER).to_numpy(zero_copy_only=False).astype(bool)
    empty = pc.equal(texts, "").to_numpy(zero_copy_only=False).astype(bool)
    long = np.flatnonzero(canonical & (pc.utf8_length(texts).to_numpy(zero_copy_only=False) >= 19))
    canonical[[at for at in long if not -(2**63) <= int(texts[int(at)].as_py()) < 2**63]] = False
    if kind == "int" or (kind is None and canonical.any() and (canonical | empty).all()):
        return pc.if_else(pa.array(canonical), texts, "0").cast(pa.int64()), ~canonical
    return texts, empty
