"""External ids, and the rows by which everything else refers to users and items.

Ids are signed 64-bit integers or text. Whole numbers stored as floats or decimals become integers, UUIDs become text, and
categories become their values. All ids are checked and converted by `id_index`.
"""

from functools import cached_property
from typing import Any, Literal
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from recsys_ae.digests import digest_of
from recsys_ae.errors import DataError, UnknownIdError, described, quoted

Rows = NDArray[np.int64]
KINDS = {"int": "integers", "str": "text"}
EXACT = {"float32": 2**24, "float64": 2**53}  # where floats begin to skip integers
PART = 2**18  # ids that are encoded at a time, few enough for the cache
CANONICAL_INTEGER = r"^(0|-?[1-9][0-9]{0,18})\z"
PADDED = r"^0*([0-9]+)(\.0+)?\z"  # a number as other programs may write it: with leading zeros, or as a float


class IdMap:
    """A one-to-one map between external ids, which are all integers or all text, and rows.

    Args:
        ids: unique ids; the position of each is its row.

    Raises:
        DataError: ids of another type, of mixed types, missing, or repeated.
    """

    def __init__(self, ids: ArrayLike | pd.Index | pd.Series) -> None:
        self._index = id_index(ids)
        if not self._index.is_unique:
            repeated = self._index[self._index.duplicated()][0]
            raise DataError(f"ids must be unique, but {shown(repeated)} occurs more than once")

    @property
    def kind(self) -> Literal["int", "str"]:
        """The type of the ids."""
        return kind_of(self._index)

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
            first = shown(id_index(external)[missing[0]])
            count = f"{len(missing)} of {len(rows)} are not among the {len(self)} known ids"
            raise UnknownIdError(f"unknown id {first} ({count}){spelling_hint(id_index(external)[missing], self)}")
        return rows

    def find(self, external: ArrayLike | pd.Series) -> Rows:
        """Rows of the given ids, int64 [n], -1 where unknown.

        Raises:
            DataError: the ids are of another type than those of the map, so none could be found.
        """
        index = id_index(external)
        if len(index) and len(self) and index.dtype != self._index.dtype:
            raise DataError(f"expected ids that are {KINDS[self.kind]}, such as {shown(self._index[0])}, got {shown(index[0])}")
        return self._index.get_indexer(index).astype(np.int64, copy=False)

    def of(self, rows: Rows) -> "IdMap":
        """The map of the ids at some rows [n], in that order."""
        return IdMap(self._index[rows])

    @cached_property
    def digest(self) -> str:
        """Content hash (32 hex digits) of the ids in their order."""
        if self.kind == "int":
            return digest_of(["int", self.values.astype("<i8").tobytes()])
        return digest_of(["str", *(len(raw).to_bytes(8, "little") + raw for raw in map(str.encode, self.values))])


def spelling_hint(unknown: pd.Index | pd.Series, known: IdMap) -> str:
    """The end of a message about unknown ids: how many are known in another spelling, with an example; empty if none is.

    Spellings differ in leading zeros, `.0` and surrounding spaces, which programs that read ids as numbers drop or add.
    """
    if known.kind == "int" or not len(unknown) or kind_of(own := id_index(pd.Index(unknown).unique())) == "int":
        return ""
    plain, texts = _plain(_texts(own)), _texts(known._index)
    # The few known ids that can be meant, because there may be millions, in each of which a search for a pattern takes long.
    likely = pc.or_(pc.is_in(_bare(texts), value_set=_bare(plain)), pc.match_substring(texts, ".0"))
    others = texts.filter(likely)
    places = pc.index_in(plain, value_set=_plain(others))
    if not (n := len(places) - places.null_count):
        return ""
    at = int(places.is_valid().to_numpy(zero_copy_only=False).argmax())
    differ = "differs from a known id" if n == 1 else "differ from known ids"
    example = f"such as {shown(own[at])} from {shown(others[places[at].as_py()].as_py())}"
    return f"; {n} of them {differ} only in leading zeros, '.0' or spaces, {example}"


def _texts(index: pd.Index) -> pa.Array:
    return pa.array(index, pa.large_string())


def _plain(texts: pa.Array) -> pa.Array:
    """Texts without surrounding spaces; whole numbers without leading zeros and `.0`."""
    return pc.replace_substring_regex(pc.utf8_trim_whitespace(texts), PADDED, r"\1")


def _bare(texts: pa.Array) -> pa.Array:
    """Texts without surrounding spaces and leading zeros: equal if `_plain` would make them equal, unless one has `.0`."""
    return pc.ascii_ltrim(pc.utf8_trim_whitespace(texts), "0")


def among(asked: Rows, known: Rows) -> NDArray[np.bool_]:
    """bool [n]: which of the numbers [n] are in `known`, whose numbers increase; faster than `np.isin`, which hashes."""
    if not len(known):
        return np.zeros(len(asked), bool)
    return known[np.minimum(np.searchsorted(known, asked), len(known) - 1)] == asked


def shown(external: Any) -> str:
    """An id as shown in messages: 7 rather than np.int64(7), text in quotes, shortened."""
    return quoted(external.item() if isinstance(external, np.generic) else external)


def kind_of(index: pd.Index) -> Literal["int", "str"]:
    """The type of ids from `id_index`."""
    return "int" if index.dtype == np.int64 else "str"


def encode(index: pd.Index, known: IdMap | None) -> tuple[Rows, IdMap]:
    """Rows of ids from `id_index`, and their map: `known`, or the sorted distinct ids if None."""
    if known is not None:
        return known.rows(index), known
    if kind_of(index) == "int" and len(index) and int(index.max()) - int(index.min()) < 2 * len(index):
        return _by_table(index.to_numpy())
    rows, distinct = pd.factorize(index, sort=True)
    return rows.astype(np.int64, copy=False), IdMap(distinct)


def _by_table(ids: NDArray[np.int64]) -> tuple[Rows, IdMap]:
    """`encode` for integers in a range that is not much larger than their number, without hashing or sorting."""
    low, parts = ids.min(), range(0, len(ids), PART)
    used = np.zeros(ids.max() - low + 1, bool)
    for start in parts:
        used[ids[start : start + PART] - low] = True
    row_of, rows = np.cumsum(used) - 1, np.empty(len(ids), np.int64)
    for start in parts:
        rows[start : start + PART] = row_of[ids[start : start + PART] - low]
    return rows, IdMap(np.flatnonzero(used) + low)


def id_index(ids: Any, what: str = "the list of ids") -> pd.Index:
    """`ids` as an index of type int64 or `str`.

    Args:
        ids: one-dimensional, of any library.
        what: its name in messages.

    Raises:
        DataError: an id that is missing, neither an integer nor text, or too large; integers and text together.
    """
    index = _listed(ids, what)
    if isinstance(index, pd.CategoricalIndex):
        used = index.remove_unused_categories()
        _refuse_missing(used.codes < 0, what)
        return id_index(used.categories, what).take(used.codes)
    _refuse_missing(np.asarray(index.isna()), what)
    kind = index.dtype
    if isinstance(kind, pd.StringDtype) or kind.kind == "U":
        return _text(index, what)
    if pd.api.types.is_integer_dtype(kind):
        return _integers(index, what)
    if pd.api.types.is_float_dtype(kind):
        return _whole_numbers(index, what)
    return _objects(index.astype(object), what)


def _listed(ids: Any, what: str) -> pd.Index:
    """`ids` as an index of any type."""
    if isinstance(ids, (list, tuple)):
        return pd.Index(ids, dtype=object, tupleize_cols=False)
    if not isinstance(ids, (pd.Series, pd.Index)) or isinstance(ids, pd.MultiIndex):
        given, ids = ids, np.asarray(ids)
        if ids.ndim != 1:
            raise DataError(f"{what} must be a list or column of ids, got {described(given)}")
    if ids.dtype == np.float16:  # pandas has no index of this type
        ids = ids.astype(np.float32)
    return pd.Index(ids, tupleize_cols=False)


def _refuse_missing(missing: NDArray[np.bool_], what: str) -> None:
    if missing.any():
        raise DataError(f"{what} has no id in row {int(missing.argmax())}; drop the row or give it one")


def _text(index: pd.Index, what: str) -> pd.Index:
    try:
        text = pd.Index(index, dtype="str")
        if text.dtype == object:  # pandas 2 does not encode it
            pa.array(text, pa.large_string())
    except UnicodeEncodeError as error:
        raise DataError(f"{what} has an id that is not valid Unicode text: {quoted(error.object)}") from None
    _refuse_missing(np.asarray(text == ""), what)
    return text


def _integers(index: pd.Index, what: str) -> pd.Index:
    if len(index) and index.dtype.kind in "uO":
        largest = int(max(index.min(), index.max(), key=abs))
        if not -(2**63) <= largest < 2**63:
            raise DataError(f"{what} must hold signed 64-bit integers, got {quoted(largest)}; convert the ids to text")
    return pd.Index(index.to_numpy().astype(np.int64, copy=False))


def _whole_numbers(index: pd.Index, what: str) -> pd.Index:
    stored = index.to_numpy()
    exact = EXACT.get(str(stored.dtype), EXACT["float64"])
    numbers = stored.astype(np.float64)
    bad = ~((np.abs(numbers) < exact) & (np.floor(numbers) == numbers))
    if bad.any():
        at = int(bad.argmax())
        raise DataError(
            f"{what} must hold integers or text, got {numbers[at]} in row {at}; of floats, only whole numbers below "
            f"2^{exact.bit_length() - 1} are exact ids"
        )
    return pd.Index(numbers.astype(np.int64))


def _objects(index: pd.Index, what: str) -> pd.Index:
    inferred = pd.api.types.infer_dtype(index, skipna=False)
    if inferred in ("string", "empty"):
        return _text(index, what)
    if inferred == "integer":
        return _integers(index, what)
    if inferred in ("floating", "mixed-integer-float", "decimal"):
        return _whole_numbers(index, what)
    types = index.map(type)
    if (types == UUID).all():
        return _text(index.map(str), what)
    if (other := types != types[0]).any():
        at = int(other.argmax())
        pair = f"{shown(index[0])} and, in row {at}, {shown(index[at])}"
        raise DataError(f"{what} mixes ids of several types, such as {pair}; convert all to text")
    way_out = "decode them to text" if inferred == "bytes" else "convert them to text"
    raise DataError(f"{what} must hold integers or text, got {shown(index[0])} ({types[0].__name__}); {way_out}")


def ids_in_text(texts: pa.Array, kind: Literal["int", "str"] | None = None) -> tuple[pa.Array, NDArray[np.bool_]]:
    """The ids in a column of text, given its distinct values: int64 if all are canonical integers, else unchanged.

    A canonical integer is written as Python prints it: 7 and -7, but not 07, +7, -0, 7.0 or ' 7'.

    Args:
        texts: string [n], all values of the column, because any of them may decide the type.
        kind: the type if known; None: decided as above.

    Returns:
        int64 or string [n], and bool [n]: which values are invalid, that is, empty or, for `int`, not canonical 64-bit
        integers.
    """
    canonical = pc.match_substring_regex(texts, CANONICAL_INTEGER).to_numpy(zero_copy_only=False).astype(bool)
    empty = pc.equal(texts, "").to_numpy(zero_copy_only=False).astype(bool)
    long = np.flatnonzero(canonical & (pc.utf8_length(texts).to_numpy(zero_copy_only=False) >= 19))
    canonical[[at for at in long if not -(2**63) <= int(texts[int(at)].as_py()) < 2**63]] = False
    if kind == "int" or (kind is None and canonical.any() and (canonical | empty).all()):
        return pc.if_else(pa.array(canonical), texts, "0").cast(pa.int64()), ~canonical
    return texts, empty
