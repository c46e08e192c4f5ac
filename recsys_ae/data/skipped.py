"""What `bad_lines: skip` leaves out: the lines, and the pairs in them that still count as seen."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from recsys_ae.data.content import Fault
from recsys_ae.errors import DataError
from recsys_ae.files import whole_file
from recsys_ae.interactions import Interactions, ones

ALWAYS = 100  # so many lines of a file may be skipped whatever their share is, because a few lines say little about a layout


@dataclass
class SkippedLines:
    """The lines that were skipped in one or several files.

    Attributes:
        lines: number of all lines of each file, the header not counted.
    """

    faults: list[Fault] = field(default_factory=list)
    lines: dict[Path, int] = field(default_factory=dict)

    def add(self, path: Path, faults: Sequence[Fault], n_lines: int) -> None:
        """Add the lines of one file, which are ignored if they are there already."""
        if path not in self.lines:
            self.faults += faults
            self.lines[path] = n_lines

    @property
    def pairs(self) -> pd.DataFrame:
        """Columns user_id and item_id of the lines in which both are valid."""
        known = [(one.user, one.item) for one in self.faults if one.user is not None]
        return pd.DataFrame(known, columns=["user_id", "item_id"])

    def by_column(self) -> dict[str, int]:
        """Numbers of lines by the first invalid column, most frequent first; those without columns are under `line`."""
        return dict(Counter(one.column or "line" for one in self.faults).most_common())

    def seen(self, data: Interactions) -> Interactions:
        """The pairs of `data` and, if their user and item are in it, those of the skipped lines: what lists exclude.

        It is the data itself if no pair is added.
        """
        pairs = self.pairs
        if pairs.empty:
            return data
        users, items = data.users.find(pairs["user_id"]), data.items.find(pairs["item_id"])
        known = (users >= 0) & (items >= 0)
        entries = np.ones(np.count_nonzero(known), np.float32), (users[known], items[known])
        both = ones(ones(data.matrix) + csr_array(entries, data.matrix.shape))
        return data if both.nnz == data.matrix.nnz else Interactions(both, data.users, data.items)

    def write(self, path: Path) -> None:
        """Write a CSV file with a row for each line and a column for each attribute of `Fault`."""
        with whole_file(path) as draft:
            pd.DataFrame(self.faults, columns=list(Fault._fields)).to_csv(draft, index=False, errors="backslashreplace")


def check_share(path: Path, unit: str, n_faults: int, n_lines: int, at_most: float, example: str) -> None:
    """Raise `DataError` if no line of a file is valid, or more than `ALWAYS` and a larger share than `at_most` are invalid."""
    if n_faults == n_lines:
        raise DataError(f"{path}: none of the {n_lines:,} {unit}s is valid; for example, {example}")
    if n_faults > max(ALWAYS, at_most * n_lines):
        share = f"{n_faults:,} of {n_lines:,} {unit}s are invalid, more than skip_at_most: {at_most:g} allows"
        raise DataError(f"{path}: {share}; for example, {example}. {_way_out(n_faults, n_lines, unit)}")


def _way_out(n_faults: int, n_lines: int, unit: str) -> str:
    """What to do about so many invalid lines."""
    if 2 * n_faults > n_lines:
        return f"Most {unit}s are invalid, so correct the declaration"
    least = (100 * n_faults // n_lines + 1) / 100
    return f"If the declaration is right, declare skip_at_most: {least:g} to skip them"
