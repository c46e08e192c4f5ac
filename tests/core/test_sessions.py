"""Networks over sessions of sequences, compared with a network that reads one event at a time."""

import numpy as np
import pytest
import torch
from recurrences import cell_of

from recsys_ae.core.session_heads import ColumnValue, ColumnValueError, NextColumn, NextColumnError
from recsys_ae.core.sessions import SessionBatch, SessionNetwork
from recsys_ae.core.sparse import SparseRows

WIDTH, HIDDEN = 6, 5
SESSIONS = [[[1, 4, 1], [0]], [[2, 3], [5, 5, 4, 0], [1, 2]], [], [[3]]]  # by sequence
KINDS = [("none", "gru"), ("init", "gru"), ("all", "gru"), ("init", "attention"), ("all", "attention")]


def batch_of(sequences: list[list[list[int]]]) -> SessionBatch:
    lengths = [len(session) for sessions in sequences for session in sessions]
    columns = torch.tensor([column for sessions in sequences for session in sessions for column in session], dtype=torch.int64)
    values = 0.7 * columns - 1.5
    starts = [torch.tensor(np.r_[0, np.cumsum(counts)].astype(np.int64)) for counts in (lengths, [*map(len, sequences)])]
    return SessionBatch(columns, values, *starts)


def network(hierarchy: str = "init", memory: str = "gru", **others) -> SessionNetwork:
    options = {"one_hot_input": False, "valued": True, "features": None, "dropout": 0.0, **others}
    made = SessionNetwork(
        WIDTH, HIDDEN, hierarchy=hierarchy, memory=memory, generator=torch.Generator().manual_seed(0), **options
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # so that every parameter matters
        for parameter in made.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return made


def features() -> SparseRows:
    return SparseRows.from_arrays([0, 2, 2, 3, 4, 5, 6], [0, 2, 1, 2, 0, 1], [1.0, 0.5, -1, 2, 1, 1], 3)


def vectors_by_hand(net: SessionNetwork, column: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    vector = net.input_weight[column]
    if net.value_weight is not None:
        vector = vector + value * net.value_weight[column]
    return vector if net.feature_weight is None else vector + features().dense()[column] @ net.feature_weight


def by_hand(net: SessionNetwork, batch: SessionBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Initial states and states after events, one event after the other."""
    cell, initials, afters = cell_of(net.recurrence), [], []
    for sequence in range(len(batch)):
        past: list[torch.Tensor] = []
        state = torch.zeros(HIDDEN)
        for session in range(batch.sequence_starts[sequence], batch.sequence_starts[sequence + 1]):
            h = torch.tanh(state @ net.start.weight + net.start.bias)
            initials.append(h)
            for event in range(batch.session_starts[session], batch.session_starts[session + 1]):
                vector = vectors_by_hand(net, batch.columns[event], batch.values[event])
                gates = (vector if net.gate_weight is None else vector @ net.gate_weight) + net.gate_bias
                if net.every_event is not None:
                    gates = gates + net.every_event(state[None])[0]
                h = cell(gates[None], h[None])[0]
                afters.append(h if net.skip is None else h + net.skip * vector)
            past.append(h)
            state = state if net.memory is None else remembered(net.memory, past, state)
    return torch.stack(initials), torch.stack(afters)


def remembered(memory, past: list[torch.Tensor], state: torch.Tensor) -> torch.Tensor:
    if hasattr(memory, "recurrence"):
        return cell_of(memory.recurrence)(memory.inputs(past[-1][None]), state[None])[0]
    every = torch.stack(past)
    scores = 8 * torch.tanh(memory.score(every)[:, 0] / 8)
    ages = torch.arange(len(past) - 1, -1, -1)
    weights = torch.softmax(scores + ages * torch.sigmoid(memory.keep).log(), 0)
    return weights @ memory.value(every)


@pytest.mark.parametrize("input_", ["embedding", "one_hot", "features"])
@pytest.mark.parametrize(("hierarchy", "memory"), KINDS)
def test_states_and_gradients_are_those_of_single_events(hierarchy, memory, input_):
    """Sessions of different sequences are independent, and gradients flow through all sessions of a sequence."""
    more = {"one_hot_input": input_ == "one_hot", "features": features() if input_ == "features" else None}
    net, batch = network(hierarchy, memory, **more), batch_of(SESSIONS)
    found, expected = net(batch), by_hand(net, batch)
    weights = [torch.randn(part.shape, generator=torch.Generator().manual_seed(2)) for part in expected]
    losses = []
    for parts in (found, expected):
        for mine, its in zip(parts, expected, strict=True):
            np.testing.assert_allclose(mine.detach(), its.detach(), atol=1e-5)
        losses.append(sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True)))
    names = [name for name, _ in net.named_parameters() if not name.startswith(("recurrence.", "memory.recurrence."))]
    parameters = [dict(net.named_parameters())[name] for name in names]
    ours, theirs = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in losses)
    for name, mine, its in zip(names, ours, theirs, strict=True):
        if its is not None and mine is not None:
            np.testing.assert_allclose(mine, its, atol=1e-4, err_msg=name)
        else:
            assert not any(gradient is not None and gradient.any() for gradient in (mine, its)), name


@pytest.mark.parametrize(("hierarchy", "memory"), KINDS)
def test_a_sequence_does_not_depend_on_others(hierarchy, memory):
    net = network(hierarchy, memory)
    together = net.last_states(batch_of(SESSIONS)).detach()
    for place, sessions in enumerate(SESSIONS):
        np.testing.assert_allclose(net.last_states(batch_of([sessions])).detach()[0], together[place], atol=1e-6)
    flat = net.last_states(batch_of([[[3]], SESSIONS[1]])).detach()
    np.testing.assert_allclose(flat, together[[3, 1]], atol=1e-6)
    earlier = net.last_states(batch_of([[[0, 0], *SESSIONS[1][1:]]])).detach()[0]
    assert np.allclose(earlier, together[1], atol=1e-6) == (hierarchy == "none")


def test_sequences_are_selected_in_any_order():
    batch = batch_of(SESSIONS)
    chosen = batch[torch.tensor([3, 1, 2])]
    expected = batch_of([SESSIONS[3], SESSIONS[1], []])
    assert chosen.columns.tolist() == expected.columns.tolist()
    assert chosen.values.tolist() == expected.values.tolist()
    assert chosen.session_starts.tolist() == expected.session_starts.tolist()
    assert chosen.sequence_starts.tolist() == expected.sequence_starts.tolist()
    assert chosen.sequence_of_event().tolist() == [0] + [1] * 8
    assert len(batch.apart()) == 6
    assert batch.follows().tolist() == [False, True, True, False, False, True, False, True, True, True, False, True, False]


def test_the_state_before_an_event_is_that_after_the_one_before_or_the_initial_one():
    batch = batch_of(SESSIONS)
    states = network()(batch)
    before = states.before(batch)
    assert torch.equal(before[[0, 3, 4, 6]], states.initial[[0, 1, 2, 3]])
    assert torch.equal(before[[1, 2, 5, 9]], states.after[[0, 1, 4, 8]])


def test_dropout_only_in_training():
    net, batch = network(dropout=0.5), batch_of(SESSIONS)
    dropped = net(batch, torch.Generator().manual_seed(0)).after
    assert (net(batch).after == net(batch).after).all()
    assert (dropped != net(batch).after).any()


def ranking(loss: str, negatives: int = 0, shares: list[float] | None = None) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The loss, and scores [T, D] and targets [T] of a batch."""
    head = NextColumn(network(valued=False), True, torch.Generator().manual_seed(0))
    with torch.no_grad():
        head.output_bias.normal_(generator=torch.Generator().manual_seed(3))
    batch = batch_of(SESSIONS)
    drawn = torch.tensor(shares or [1 / WIDTH] * WIDTH, dtype=torch.float64)
    found = NextColumnError(loss, negatives, drawn).loss(head, batch, torch.Generator().manual_seed(4))
    assert float(found.count) == 7
    scores = head(head.sessions(batch).before(batch))[batch.follows()]
    return float(found.total.detach()), scores.detach(), batch.columns[batch.follows()]


def test_cross_entropy_is_over_all_columns():
    found, scores, targets = ranking("cross_entropy")
    expected = torch.nn.functional.cross_entropy(scores, targets, reduction="sum")
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_sampled_cross_entropy_approximates_the_full_one():
    """With many draws from any distribution, the loss is that over all columns."""
    shares = [0.1, 0.3, 0.05, 0.25, 0.2, 0.1]
    found, scores, targets = ranking("cross_entropy", 100_000, shares)
    expected = torch.nn.functional.cross_entropy(scores, targets, reduction="sum")
    assert found == pytest.approx(float(expected), rel=0.01)


@pytest.mark.parametrize("loss", ["top1", "bpr_max"])
def test_pairwise_losses_by_hand(loss):
    """With so many draws that every column is a candidate."""
    found, scores, targets = ranking(loss, 1000)
    expected = 0.0
    for row, target in zip(scores.double(), targets, strict=True):
        others = torch.cat([row[:target], row[target + 1 :]])
        if loss == "top1":
            expected += float((torch.sigmoid(others - row[target]) + torch.sigmoid(others**2)).mean())
        else:
            share = torch.softmax(others, 0)
            expected += float(-(share @ torch.sigmoid(row[target] - others)).log() + share @ others**2)
    assert found == pytest.approx(expected, rel=1e-5)


def test_equal_states_have_equal_values():
    """To the last bit, wherever they are in a block: BLAS would round some of them differently."""
    head, generator = ColumnValue(network(), False, torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1)
    for _ in range(30):
        states = torch.randn(2, HIDDEN, generator=generator)
        values = head(states[[0, 1, 0]])
        assert torch.equal(values[0], values[2])


def test_values_of_all_columns_are_those_of_single_columns(monkeypatch):
    monkeypatch.setattr("recsys_ae.core.session_heads.CHUNK", 2 * WIDTH * HIDDEN)
    head = ColumnValue(network(), False, torch.Generator().manual_seed(0))
    batch = batch_of(SESSIONS)
    states = head.sessions(batch).before(batch)
    every = head(states)
    np.testing.assert_allclose(
        every.gather(1, batch.columns[:, None])[:, 0].detach(), head.at(states, batch.columns).detach(), atol=1e-5
    )
    error = ColumnValueError().loss(head, batch, torch.Generator())
    expected = ((head.at(states, batch.columns) - batch.values) ** 2).sum()
    assert float(error.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(error.count) == len(batch.columns)
