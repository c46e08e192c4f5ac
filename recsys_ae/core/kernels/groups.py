"""Ranked lists with a limited number of columns from each of several overlapping groups."""

from typing import Any

import numpy as np

from recsys_ae.core.kernels.compiled import compiled


@compiled()
def take_capped(scores: Any, rows: Any, found: Any, groups: Any, cap: Any, lists: Any, counts: Any) -> None:
    """Extend the lists of some rows by their best columns, passing over those with a group that has `cap` columns in the list.

    Sets the scores of columns that can no longer be listed to -inf: the columns found and, in rows whose list is not full, all
    columns of full groups.

    Args:
        scores: float32 [B, M].
        rows: int64 [R].
        found: int64 [R, D], the best columns of each of the rows, best first; -1 for none.
        groups: the groups of each column as `indptr` [M + 1] and `indices`, and the columns of each group [G] in the same form.
        lists: columns int64 [B, K] and values float32 [B, K], of which the first `lengths`, int64 [B], are filled.
        counts: int64 [G], a buffer that is zero before and after the call.
    """
    first_group, group_of, first_column, column_of = groups
    columns, values, lengths = lists
    for r in range(len(rows)):
        row = rows[r]
        for place in range(lengths[row]):
            for e in range(first_group[columns[row, place]], first_group[columns[row, place] + 1]):
                counts[group_of[e]] += 1
        for d in range(found.shape[1]):
            column = found[r, d]
            if column < 0 or lengths[row] == columns.shape[1]:
                break
            own = group_of[first_group[column] : first_group[column + 1]]
            free = True
            for group in own:
                free = free and counts[group] < cap
            if free:
                columns[row, lengths[row]], values[row, lengths[row]] = column, scores[row, column]
                lengths[row] += 1
                for group in own:
                    counts[group] += 1
            scores[row, column] = -np.inf
        for place in range(lengths[row]):
            for e in range(first_group[columns[row, place]], first_group[columns[row, place] + 1]):
                group = group_of[e]
                if counts[group] >= cap and lengths[row] < columns.shape[1]:
                    for member in range(first_column[group], first_column[group + 1]):
                        scores[row, column_of[member]] = -np.inf
                counts[group] = 0
