"""Networks over sequences of sessions: a recurrence within each session, and one from session to session of a sequence.

B sequences of S sessions of E events; D columns, one of them per event; H units.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from recsys_ae.core.autoencoder import glorot_uniform
from recsys_ae.core.axes import Axis
from recsys_ae.core.corruption import Masking
from recsys_ae.core.entries import rows_at
from recsys_ae.core.recurrence import Recurrence, by_length
from recsys_ae.core.shares import Unit
from recsys_ae.core.sparse import SparseRows, one_hot, times

Hierarchy = Literal["none", "init", "all"]
MemoryKind = Literal["gru", "attention"]
INITIAL_STD = 0.1
FEATURE_PARTS = ("row_ids", "indptr", "columns", "values")
LARGEST_SCORE = 8.0  # of a session in `AttentionMemory`: its exponential neither overflows nor vanishes


def vectors(n: int, size: int, generator: Generator | None) -> nn.Parameter:
    """Random vectors [n, size] for the columns or features."""
    return nn.Parameter(torch.randn(n, size, generator=generator).mul_(INITIAL_STD))


@dataclass(frozen=True, eq=False, repr=False)
class SessionBatch:
    """Sequences of sessions; sessions have at least one event, sequences may be empty.

    Attributes:
        columns: int64 [E].
        values: float32 [E].
        session_starts: int64 [S + 1]; the events of session s are those from session_starts[s] to session_starts[s + 1].
        sequence_starts: int64 [B + 1]; the sessions of sequence b, likewise.
    """

    columns: Tensor
    values: Tensor
    session_starts: Tensor
    sequence_starts: Tensor

    def __len__(self) -> int:
        return len(self.sequence_starts) - 1

    def __getitem__(self, index: Tensor) -> "SessionBatch":
        sessions, sequence_starts = ranges(self.sequence_starts, index)
        events, session_starts = ranges(self.session_starts, sessions)
        return SessionBatch(self.columns[events], self.values[events], session_starts, sequence_starts)

    def to(self, device: torch.device) -> "SessionBatch":
        parts = (self.columns, self.values, self.session_starts, self.sequence_starts)
        return SessionBatch(*(part.to(device) for part in parts))

    def starts_of(self, unit: Unit) -> Tensor:
        """int64 [B + 1]: the first session or event of each sequence, and the number of all."""
        return self.sequence_starts if unit == "sessions" else self.session_starts[self.sequence_starts]

    def apart(self) -> "SessionBatch":
        """Every session as a sequence of its own."""
        starts = torch.arange(len(self.session_starts), device=self.session_starts.device)
        return SessionBatch(self.columns, self.values, self.session_starts, starts)

    def follows(self) -> Tensor:
        """bool [E]: events that are not the first of their session."""
        follows = torch.ones_like(self.columns, dtype=torch.bool)
        follows[self.session_starts[:-1]] = False
        return follows

    def session_of_event(self) -> Tensor:
        """The session of each event, int64 [E]."""
        sessions = torch.arange(len(self.session_starts) - 1, device=self.columns.device)
        return torch.repeat_interleave(sessions, self.session_starts.diff(), output_size=len(self.columns))

    def sequence_of_event(self) -> Tensor:
        """The sequence of each event, int64 [E]."""
        lengths = self.session_starts[self.sequence_starts].diff()
        sequences = torch.arange(len(self), device=self.columns.device)
        return torch.repeat_interleave(sequences, lengths, output_size=len(self.columns))


def ranges(starts: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """The concatenated ranges starts[i]:starts[i + 1] for i in `at` [n], and where each begins among them, int64 [n + 1]."""
    lengths = starts.diff()[at]
    begins = functional.pad(lengths.cumsum(0), (1, 0))
    shift = torch.repeat_interleave(starts[at] - begins[:-1], lengths)
    return shift + torch.arange(len(shift), device=shift.device), begins


class States(NamedTuple):
    """States of a batch: `initial` [S, H] before the first event of each session, `after` [E, H] after each event."""

    initial: Tensor
    after: Tensor

    def before(self, batch: SessionBatch) -> Tensor:
        """The state before each event, [E, H]."""
        events = torch.arange(len(self.after), device=self.after.device)
        place = torch.where(batch.follows(), len(self.initial) + events - 1, batch.session_of_event())
        return torch.cat([self.initial, self.after])[place]


class RecurrentMemory(nn.Module):
    """The state of a sequence by a recurrence over the last states of its sessions (Quadrana et al. 2017)."""

    def __init__(self, hidden: int, generator: Generator | None) -> None:
        super().__init__()
        self.inputs = Linear(hidden, 3 * hidden, generator)
        self.recurrence = Recurrence(hidden, generator)
        self.size = hidden

    def add(self, last: Tensor, memory: Tensor) -> Tensor:
        """The memories [B, size] after sessions whose last states are `last` [B, H]; a memory begins as zeros."""
        return self.recurrence.step(self.inputs(last), memory)

    def read(self, memory: Tensor) -> Tensor:
        """The state of the sequence, [B, H]."""
        return memory


class AttentionMemory(nn.Module):
    """The state of a sequence as the mean of its sessions' last states (mapped linearly), weighted by score and recency.

    The weight of a state s is exp(score(s)) * keep^age, with `keep` between 0 and 1 learned. A memory [H + 1] holds the
    weighted sum and the total weight, so adding a session costs the same however many there were.
    """

    def __init__(self, hidden: int, generator: Generator | None) -> None:
        super().__init__()
        self.score, self.value = Linear(hidden, 1, generator), Linear(hidden, hidden, generator)
        self.keep = nn.Parameter(torch.zeros(1))
        self.size = hidden + 1

    def add(self, last: Tensor, memory: Tensor) -> Tensor:
        weight = (LARGEST_SCORE * torch.tanh(self.score(last) / LARGEST_SCORE)).exp()
        return torch.sigmoid(self.keep) * memory + weight * functional.pad(self.value(last), (0, 1), value=1.0)

    def read(self, memory: Tensor) -> Tensor:
        return memory[:, :-1] / memory[:, -1:].clamp(min=torch.finfo(torch.float32).tiny)


class SessionNetwork(nn.Module):
    """A recurrent network with a state per session, updated by each event, and one per sequence, updated by each session.

    The vector of an event is that of its column, plus its value times another vector of the column (`valued`), plus the
    column's features times their weights. It is the input of the gates (`one_hot_input`), or an embedding that is mapped to it.
    A session begins with tanh(c W + b), where c is the state of its sequence; c is 0 in the first session and with
    `hierarchy: none`. With `all`, c also enters the gates at every event. The embedding of an event, times a learned number, is
    added to the state after it, so that similarity to the last column need not be learned through the gates.

    Args:
        width: D.
        features: the features of each column as sparse rows [D, F], or None.
        dropout: share of the units of embeddings (as inputs of the gates) and of states (as outputs) that are dropped in
            training. Units of the states of sequences are not dropped, because that slows down learning.
    """

    id_axes: Mapping[str, Axis] = {"input_weight": "inputs", "value_weight": "inputs"}

    def __init__(
        self,
        width: int,
        hidden: int,
        *,
        hierarchy: Hierarchy,
        memory: MemoryKind,
        one_hot_input: bool,
        valued: bool,
        features: SparseRows | None,
        dropout: float,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        size = 3 * hidden if one_hot_input else hidden
        self.hidden, self.dropout = hidden, Masking(dropout)
        self.input_weight = vectors(width, size, generator)
        self.value_weight = vectors(width, size, generator) if valued else None
        self.feature_weight = None if features is None else vectors(features.width, size, generator)
        for name in FEATURE_PARTS:  # buffers, so that they follow the module to its device
            self.register_buffer(f"feature_{name}", None if features is None else getattr(features, name), persistent=False)
        self.gate_weight = None if one_hot_input else nn.Parameter(glorot_uniform((hidden, 3 * hidden), generator))
        self.gate_bias = nn.Parameter(torch.zeros(3 * hidden))
        self.recurrence = Recurrence(hidden, generator)
        self.skip = None if one_hot_input else nn.Parameter(torch.zeros(1))
        self.start = Linear(hidden, hidden, generator)
        kinds: dict[MemoryKind, Callable[..., RecurrentMemory | AttentionMemory]] = {
            "gru": RecurrentMemory,
            "attention": AttentionMemory,
        }
        self.memory = None if hierarchy == "none" else kinds[memory](hidden, generator)
        self.every_event = Linear(hidden, 3 * hidden, generator) if hierarchy == "all" else None

    def vectors_of(self, columns: Tensor | None) -> Tensor:
        """The vectors of columns, [n, hidden or 3 hidden]; of all if None."""
        vectors = self.input_weight if columns is None else rows_at(self.input_weight, columns)
        if self.feature_weight is not None:
            row_ids, indptr, labels, values = (self.get_buffer(f"feature_{name}") for name in FEATURE_PARTS)
            every = SparseRows(row_ids, indptr, labels, values, len(self.feature_weight))
            vectors = vectors + times(every if columns is None else every[columns], self.feature_weight)
        return vectors

    def inputs_of(self, batch: SessionBatch) -> Tensor:
        """The vectors of events, [E, hidden or 3 hidden]."""
        vectors = self.vectors_of(batch.columns)
        if self.value_weight is None:
            return vectors
        valued = one_hot(batch.columns, len(self.value_weight)).with_values(batch.values)
        return vectors + times(valued, self.value_weight)

    def forward(self, batch: SessionBatch, generator: Generator | None = None) -> States:
        """The states of all sessions; in training, `generator` draws what is dropped."""
        with torch.autocast(batch.columns.device.type, enabled=False):
            inputs = self.inputs_of(batch)
            shown = self.dropped(inputs, "events", generator)
            gates = (shown if self.gate_weight is None else shown @ self.gate_weight) + self.gate_bias
            if self.memory is None:
                initial = torch.tanh(self.start.bias).expand(len(batch.session_starts) - 1, -1)
                states = States(initial, self.recurrence(gates, initial, batch.session_starts))
            else:
                states = self._session_by_session(gates, batch)
            initial, after = (
                self.dropped(states.initial, "sessions", generator),
                self.dropped(states.after, "events", generator),
            )
            return States(initial, after if self.skip is None else after + self.skip * inputs)

    def _session_by_session(self, inputs: Tensor, batch: SessionBatch) -> States:
        """The states, from the first sessions of all sequences, then the second ones of those that have one, and so on."""
        assert self.memory is not None
        order, wide = by_length(batch.sequence_starts.diff())
        first = batch.sequence_starts[:-1][order]
        memory, none = inputs.new_zeros(len(batch), self.memory.size), inputs.new_zeros(0, self.hidden)
        places: list[tuple[Tensor, Tensor]] = [(first[:0], first[:0])]
        states = [States(none, none)]
        for number, width in enumerate(wide):
            sessions = first[:width] + number
            events, starts = ranges(batch.session_starts, sessions)
            memory = memory[:width]
            state = self.memory.read(memory)
            initial, own = torch.tanh(self.start(state)), inputs[events]
            if self.every_event is not None:
                own = own + torch.repeat_interleave(self.every_event(state), starts.diff(), 0, output_size=len(events))
            after = self.recurrence(own, initial, starts)
            memory = self.memory.add(after[starts[1:] - 1], memory)
            places.append((sessions, events))
            states.append(States(initial, after))
        of_sessions, of_events = (torch.cat(at).argsort() for at in zip(*places, strict=True))
        initials, afters = (torch.cat(parts) for parts in zip(*states, strict=True))
        return States(initials[of_sessions], afters[of_events])

    def last_states(self, batch: SessionBatch) -> Tensor:
        """The state of each sequence after its last event, [B, H]; without events, that at the start of a first session."""
        states = self(batch)
        nothing = torch.tanh(self.start.bias)[None]
        ends = batch.session_starts[batch.sequence_starts[1:]]
        place = torch.where(batch.sequence_starts.diff() > 0, ends, 0)
        return torch.cat([nothing, states.after])[place]

    def dropped(self, x: Tensor, unit: Unit, generator: Generator | None) -> Tensor:
        """`x`, with a row for each `unit`, after dropout, in training."""
        return x if generator is None or not self.dropout.rate else self.dropout.corrupt(x, generator, unit)


class Linear(nn.Module):
    """x W + b, with W [inputs, outputs] drawn after Glorot & Bengio 2010."""

    def __init__(self, inputs: int, outputs: int, generator: Generator | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(glorot_uniform((inputs, outputs), generator))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight)
