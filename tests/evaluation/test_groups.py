from itertools import combinations

import numpy as np
from hypothesis import given, strategies as st

from recsys_ae.evaluation.uncertainty.groups import best_group, compact_letters


@st.composite
def relations(draw):
    """A symmetric relation of up to 7 models, in general not transitive, and their order."""
    m = draw(st.integers(1, 7))
    different = np.zeros((m, m), bool)
    for i, j in combinations(range(m), 2):
        different[i, j] = different[j, i] = draw(st.booleans())
    return different, draw(st.permutations(range(m)))


def maximal_cliques(different):
    """All sets of models that cannot be told apart and to which none can be added, by trying every subset."""
    m = len(different)
    subsets = [frozenset(own) for size in range(1, m + 1) for own in combinations(range(m), size)]
    alike = [own for own in subsets if not any(different[i, j] for i, j in combinations(own, 2))]
    return {own for own in alike if not any(own < other for other in alike)}


class TestLetters:
    @given(data=relations())
    def test_models_share_a_letter_exactly_if_they_cannot_be_told_apart(self, data):
        different, order = data
        letters = compact_letters(different, order)
        for i, j in combinations(range(len(order)), 2):
            assert bool(set(letters[i]) & set(letters[j])) != different[i, j]

    @given(data=relations())
    def test_no_letter_is_contained_in_another(self, data):
        different, order = data
        letters = compact_letters(different, order)
        used = sorted(set("".join(letters)))
        assert {frozenset(i for i, own in enumerate(letters) if letter in own) for letter in used} == maximal_cliques(different)
        assert "".join(used) == "abcdefghijklmnopqrstuvwxyz"[: len(used)]
        assert letters[order[0]].startswith("a")

    def test_hand_example(self):
        """Of five models from the best, neighbours cannot be told apart, nor can the first and the third."""
        different = np.ones((5, 5), bool)
        for i, j in [(0, 1), (1, 2), (2, 3), (3, 4), (0, 2)]:
            different[i, j] = different[j, i] = False
        np.fill_diagonal(different, False)
        assert compact_letters(different, range(5)) == ["a", "a", "ab", "bc", "c"]
        backwards = compact_letters(different, [4, 3, 2, 1, 0])
        assert backwards == ["c", "c", "bc", "ab", "a"]

    def test_all_different(self):
        letters = compact_letters(~np.eye(54, dtype=bool), range(54))
        assert [letters[0], letters[25], letters[26], letters[51], letters[53]] == ["a", "z", "A", "Z", "(54)"]


@given(data=relations())
def test_best_group(data):
    different, order = data
    best = order[0]
    assert best_group(different, order) == [best, *(model for model in order[1:] if not different[best, model])]
