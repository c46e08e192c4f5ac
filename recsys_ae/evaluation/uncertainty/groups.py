"""Groups of models that cannot be told apart."""

from collections.abc import Sequence
from string import ascii_letters

import numpy as np
from numpy.typing import NDArray


def compact_letters(different: NDArray[np.bool_], order: Sequence[int]) -> list[str]:
    """Letters of each of m models: two share a letter if and only if `different` [m, m] says they cannot be told apart.

    The insert-and-absorb algorithm of Piepho 2004 ("An algorithm for a letter-based representation of all-pairwise
    comparisons"), without its last step, which only removes redundant letters. `different` is symmetric, but need not be
    transitive. `order` lists the models from the best; earlier letters have better models. After 52 letters come numbers in
    parentheses.

    >>> far = np.array([[False, False, True], [False, False, False], [True, False, False]])
    >>> compact_letters(far, [0, 1, 2])
    ['a', 'ab', 'b']
    """
    columns = [frozenset(range(len(order)))]  # places in the order
    ranked = different[np.ix_(order, order)]
    for first, second in np.argwhere(np.triu(ranked)).tolist():
        both = [column for column in columns if {first, second} <= column]
        kept = [column for column in columns if not {first, second} <= column]
        for column in [column - {one} for column in both for one in (second, first)]:
            if not any(column <= other for other in kept):
                kept = [*(other for other in kept if not other <= column), column]
        columns = kept
    columns.sort(key=sorted)
    letters = [ascii_letters[at] if at < len(ascii_letters) else f"({at + 1})" for at in range(len(columns))]
    of_place = [
        "".join(letter for letter, column in zip(letters, columns, strict=True) if place in column)
        for place in range(len(order))
    ]
    return [of_place[place] for place in np.argsort(order)]


def best_group(different: NDArray[np.bool_], order: Sequence[int]) -> list[int]:
    """The best model, first in `order`, and those that cannot be told from it, in this order."""
    return [model for model in order if not different[order[0], model]]
