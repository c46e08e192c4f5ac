import numpy as np
import torch
from hypothesis import given, strategies as st
from torch import Generator

from recsys_ae.core.corruption import Gaussian, Masking, SaltAndPepper
from recsys_ae.core.distributed import Team
from recsys_ae.core.sessions import SessionBatch
from recsys_ae.core.shares import drawn, sharing, whole_batch
from recsys_ae.core.sparse import SparseRows, with_negatives
from recsys_ae.core.variational import sample

lengths = st.lists(st.integers(0, 4), min_size=1, max_size=7)
sizes = st.integers(1, 9)


def teams(size: int) -> list[Team]:
    return [Team(None, rank, size, nccl=False) for rank in range(size)]


def sparse(row_lengths: list[int]) -> SparseRows:
    """Rows with these numbers of entries in 5 columns."""
    columns = np.concatenate([np.arange(5)[:n] for n in row_lengths]).astype(np.int64)
    return SparseRows.from_arrays(np.r_[0, np.cumsum(row_lengths)], columns, 1.0 + np.arange(len(columns)), 5)


def by_rank(batch, size: int, draw) -> list:
    """What `draw(own rows, generator)` returns in each rank, generators being alike."""
    found = []
    for team in teams(size):
        share = team.share(batch)
        with sharing(share):
            found.append(draw(batch[torch.arange(share.first, share.last)], Generator().manual_seed(4)))
    return found


def alone(batch, draw):
    return draw(batch, Generator().manual_seed(4))


@given(st.integers(0, 40), sizes)
def test_every_row_belongs_to_one_rank_and_shares_are_even(rows, size):
    shares = [team.share(torch.zeros(rows, 2)) for team in teams(size)]
    assert [row for share in shares for row in range(share.first, share.last)] == list(range(rows))
    counts = [share.last - share.first for share in shares]
    assert max(counts) - min(counts) <= 1


@given(lengths, sizes)
def test_entries_are_corrupted_as_without_other_ranks(row_lengths, size):
    batch = sparse(row_lengths)
    for corruption in (Masking(0.4), Gaussian(1.0), SaltAndPepper(0.5)):
        draw = lambda rows, generator, corruption=corruption: corruption(rows, generator).values  # noqa: E731
        assert torch.equal(torch.cat(by_rank(batch, size, draw)), alone(batch, draw))


@given(lengths, sizes)
def test_pixels_and_codes_are_corrupted_as_without_other_ranks(row_lengths, size):
    batch = torch.arange(3.0 * len(row_lengths)).reshape(-1, 3)
    for draw in (Masking(0.4), lambda rows, generator: sample(rows, rows / 10, generator)):
        assert torch.equal(torch.cat(by_rank(batch, size, draw)), alone(batch, draw))


@given(lengths, sizes)
def test_negatives_are_drawn_as_without_other_ranks(row_lengths, size):
    batch = sparse(row_lengths)
    draw = lambda rows, generator: with_negatives(rows, 3, generator)  # noqa: E731
    found, (expected, expected_weights) = by_rank(batch, size, draw), alone(batch, draw)
    assert torch.equal(torch.cat([rows.columns for rows, _ in found]), expected.columns)
    assert torch.equal(torch.cat([weights for _, weights in found]), expected_weights)


@given(st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=1, max_size=6), sizes)
def test_numbers_for_sessions_and_events_are_drawn_as_without_other_ranks(sequences, size):
    sessions = [n for sequence in sequences for n in sequence]
    starts = torch.tensor([0, *np.cumsum(sessions)]), torch.tensor([0, *np.cumsum([len(one) for one in sequences])])
    n = int(starts[0][-1])
    batch = SessionBatch(torch.arange(n), torch.zeros(n), *starts)
    for unit, count in (("events", lambda rows: len(rows.columns)), ("sessions", lambda rows: len(rows.session_starts) - 1)):
        draw = lambda rows, generator, unit=unit, count=count: drawn(torch.rand, [count(rows), 2], generator, unit)  # noqa: E731
        assert torch.equal(torch.cat(by_rank(batch, size, draw)), alone(batch, draw))


def test_the_whole_batch_is_known_only_within_its_share():
    batch = torch.arange(6.0).reshape(3, 2)
    share = teams(2)[1].share(batch)
    with sharing(share):
        assert torch.equal(whole_batch(batch[share.first : share.last]), batch)
    assert whole_batch(batch[:1]).shape == (1, 2)
