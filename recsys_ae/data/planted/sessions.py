"""Planted sessions: a Markov process on two levels, so that the best predictions of next items and of ratings are known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys_ae.data.planted.ratings import item_ids, user_ids
from recsys_ae.data.planted.rounding import SCALE, Floats, lowest_errors, rating_probabilities
from recsys_ae.declaration import check_seed
from recsys_ae.errors import ConfigError
from recsys_ae.events import Events
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.next_events import NextEvents
from recsys_ae.sequences import Sequences, sessions_by_gap
from recsys_ae.split import Split

START = 1_600_000_000  # seconds since 1970
LARGEST = 20_000_000  # events
GAP_MINUTES = 60  # between the longest pause within a session and the shortest one between sessions
CELLS = 10_000_000  # numbers of a block in memory


@dataclass(frozen=True, eq=False)
class SessionProcess:
    """A Markov process on two levels, with K topics and M items, and its exact filter.

    Every session of a user has a topic z. The first is uniform; then z + 1 (modulo K) follows with probability `regularity`,
    otherwise a uniform topic. The first item of a session is drawn by popularity, so it says nothing about the topic. After
    item i comes `follower[z, i]` with probability `loyalty`, otherwise an item drawn by popularity. The rating of i is
    `level[z, i]` plus normal noise, rounded and clipped to 1..5.

    Attributes:
        follower: int64 [K, M], for each topic a permutation of the items; no two topics agree on any item.
        level: float64 [K, M].
        popularity: float64 [M], sums to 1.
        noise: standard deviation of the noise before rounding.
    """

    follower: Rows
    level: Floats
    popularity: Floats
    loyalty: float
    regularity: float
    noise: float

    def draw(self, users: int, sessions: int, lengths: tuple[int, int], rng: np.random.Generator) -> Events:
        """The events of a number of users with a number of sessions each, of `lengths` from a to b; see `planted_sessions`."""
        topics, items = self.follower.shape
        shape = (users, sessions, lengths[1])
        topic = rng.integers(topics, size=(users, sessions))
        regular = rng.random((users, sessions)) < self.regularity
        for session in range(1, sessions):
            topic[:, session] = np.where(regular[:, session], (topic[:, session - 1] + 1) % topics, topic[:, session])
        item = rng.choice(items, shape, p=self.popularity)
        loyal = rng.random(shape) < self.loyalty  # sessions are independent given their topics, so all are drawn at once
        for at in range(1, shape[2]):
            item[:, :, at] = np.where(loyal[:, :, at], self.follower[topic, item[:, :, at - 1]], item[:, :, at])
        taste = self.level[topic[:, :, None], item]
        rating = np.clip(np.rint(taste + rng.normal(0, self.noise, shape)), *SCALE).astype(np.float32)
        happens = np.arange(shape[2]) < rng.integers(lengths[0], lengths[1] + 1, (users, sessions, 1))
        pauses = rng.integers(30, 301, shape)  # seconds before each event
        pauses[:, :, 0] = rng.integers(8 * 3600, 80 * 3600, (users, sessions))
        pauses[:, 0, 0] = rng.integers(60 * 86_400, size=users)
        times = START + np.cumsum((pauses * happens).reshape(users, -1), axis=1).reshape(shape)
        user, number, _ = np.nonzero(happens)
        by_time = np.argsort(times[happens], kind="stable")
        numbers = user * sessions + number
        return Events(user, item[happens], rating[happens], times[happens] * 1_000_000, sessions=numbers)[by_time]

    def beliefs(self, sequences: Sequences) -> Floats:
        """P(topic | all earlier events of the user, with their ratings) before each event, float64 [E, K]."""
        likelihood = self.item_probabilities(sequences) * self._rating_table[:, sequences.items, _stars(sequences)].T
        evidence = np.log(np.maximum(likelihood, 1e-300))
        before = np.cumsum(evidence, axis=0) - evidence  # of all earlier events, also of other sessions
        ends = np.cumsum(np.vstack([np.zeros(len(self.follower)), evidence]), axis=0)[sequences.session_starts]
        prior = self._session_priors(sequences, np.diff(ends, axis=0))
        session = sequences.session_of_event()
        return _normalised(np.log(prior)[session] + before - ends[:-1][session])

    def _session_priors(self, sequences: Sequences, evidence: Floats) -> Floats:
        """P(topic | all earlier sessions of the user), float64 [S, K], from the log likelihood [S, K] of each session."""
        topics = len(self.follower)
        change = self.regularity * np.roll(np.eye(topics), 1, axis=1) + (1 - self.regularity) / topics
        prior = np.full((sequences.n_sessions, topics), 1 / topics)
        starts, counts = sequences.user_starts[:-1], np.diff(sequences.user_starts)
        for number in range(1, counts.max(initial=0)):
            current = starts[counts > number] + number
            prior[current] = _normalised(np.log(prior[current - 1]) + evidence[current - 1]) @ change
        return np.maximum(prior, 1e-300)

    def item_probabilities(self, sequences: Sequences) -> Floats:
        """P(item of the event | topic, preceding item of the session), float64 [E, K]."""
        items = sequences.items
        follows = items[:, None] == self.follower[:, np.roll(items, 1)].T
        chosen = self.loyalty * follows + (1 - self.loyalty) * self.popularity[items][:, None]
        return np.where((sequences.position_in_session() == 0)[:, None], self.popularity[items][:, None], chosen)

    def next_items(self, sequences: Sequences, beliefs: Floats, at: Rows) -> Floats:
        """P(item | everything before), float64 [n, M], of the events at positions `at` [n]; `beliefs` [E, K] are all."""
        follows = sequences.position_in_session()[at] > 0
        share = np.where(follows, self.loyalty, 0)
        probability = np.outer(1 - share, self.popularity)
        for topic, follower in enumerate(self.follower):
            probability[np.arange(len(at)), follower[sequences.items[at - 1]]] += share * beliefs[at, topic]
        return probability

    def ratings(self, sequences: Sequences, beliefs: Floats) -> Floats:
        """P(rating | item and everything before), float64 [E, 5], from P(topic | everything before) [E, K]."""
        topic = beliefs * self.item_probabilities(sequences)
        topic /= topic.sum(axis=1, keepdims=True)
        return np.asarray(sum(topic[:, [z]] * table[sequences.items] for z, table in enumerate(self._rating_table)))

    @property
    def _rating_table(self) -> Floats:
        """P(rating | topic, item), float64 [K, M, 5]."""
        return rating_probabilities(self.level, self.noise)

    def best(self, split: Split, metrics: Sequence[str]) -> dict[str, float]:
        """The best reachable values of `metrics` on the test part, if the split predicts every next event; otherwise none.

        The predictor knows the process and everything before an event, but not the topics: it predicts the item, and the rating
        given the item. The values are expectations. They are known for rating metrics, and for ranking metrics that depend only
        on the rank of a single relevant item, unless lists exclude seen items.
        """
        if split.predict == "all":
            return {}
        targets = NextEvents.of(split, "test")
        log = replace(targets.log, sessions=sessions_by_gap(targets.log, GAP_MINUTES))  # whatever the split calls a session
        sequences = Sequences.of_log(log, split.train.n_users)  # in the order of the log
        beliefs = self.beliefs(sequences)
        errors = lowest_errors(self.ratings(sequences, beliefs)[targets.at], metrics)
        gains = {} if split.repeats == "excluded" else _gains(metrics, len(self.popularity))
        if not gains:
            return errors
        sums = np.zeros(len(self.popularity))  # over targets, of the probability of the item at each rank
        for at in np.array_split(targets.at, 1 + len(targets) * len(sums) // CELLS):
            sums += np.sort(self.next_items(sequences, beliefs, at), axis=1)[:, ::-1].sum(axis=0)
        return {**errors, **{name: float(gain @ sums[: len(gain)] / len(targets)) for name, gain in gains.items()}}


def planted_sessions(
    users: int = 3000,
    items: int = 40,
    sessions: int = 12,
    *,
    shortest: int = 4,
    longest: int = 7,
    topics: int = 4,
    groups: int = 4,
    loyalty: float = 0.8,
    regularity: float = 0.95,
    spread: float = 0.6,
    noise: float = 0.6,
    seed: int = 0,
) -> tuple[Interactions, SessionProcess]:
    """Sessions whose hidden topics decide which item follows which, and how items are rated; see `SessionProcess`.

    All topics share the items and their popularity (Zipf-like). Early in a session, only the previous sessions reveal its
    topic. The rating level of topic z for item i is 3 + b_i + a[z, group of i], where b_i has standard deviation 0.3, and the a
    of each group mean 0 and standard deviation `spread` over the topics: before rounding, a model that predicts the same rating
    of an item in all topics has at least the error sqrt(`spread`^2 + `noise`^2). Sessions have numbers, and times: 30 to 300
    seconds between events, 8 to 80 hours between sessions. Of repeated pairs the last rating counts.

    Args:
        users, items: how many of each. Users are called "u0001", ..., items 1001, ....
        sessions: sessions of each user.
        shortest, longest: length of a session, uniform.
        topics: at least 2, and fewer than the items.
        groups: groups of items of nearly equal size.

    Returns:
        The interactions, and the process.

    Raises:
        ConfigError: sizes that contradict each other.
    """
    if not 2 <= topics < items or not 1 <= groups <= items or not 2 <= shortest <= longest:
        wanted = "2 <= topics < items, 1 <= groups <= items and 2 <= shortest <= longest"
        got = f"topics={topics}, items={items}, groups={groups}, shortest={shortest}, longest={longest}"
        raise ConfigError(f"planted sessions need {wanted}, got {got}")
    if users * sessions * longest > LARGEST:
        raise ConfigError(f"planted sessions may have {LARGEST:,} events at most, got {users} users x {sessions} x {longest}")
    check_seed(seed)
    rng = np.random.default_rng(seed)
    ring = rng.permutation(items)
    steps = 1 + rng.choice(items - 1, (topics, 1), replace=False)
    follower = ring[(np.argsort(ring) + steps) % items]
    popularity = 1 / (10 + rng.permutation(items)) ** 0.8
    liking = rng.normal(size=(topics, groups))
    liking = spread * (liking - liking.mean(axis=0)) / liking.std(axis=0)
    level = 3 + rng.normal(0, 0.3, items) + liking[:, rng.permutation(items) % groups]
    process = SessionProcess(follower, level, popularity / popularity.sum(), loyalty, regularity, noise)
    log = process.draw(users, sessions, (shortest, longest), rng)

    return Interactions.from_events(log, user_ids(users), item_ids(items), "last", SCALE), process


def _gains(metrics: Sequence[str], items: int) -> dict[str, Floats]:
    """The values of ranking metrics if the only relevant item is at each rank, float64 [min(k, items)] each."""
    found = {}
    for metric, (name, _, length) in ((metric, metric.partition("@")) for metric in metrics):
        rank = np.arange(1, min(int(length or 0), items) + 1)
        if name in ("recall", "capped_recall", "hit_rate"):
            found[metric] = np.ones(len(rank))
        elif name in ("mrr", "map"):
            found[metric] = 1 / rank
        elif name == "ndcg":
            found[metric] = 1 / np.log2(1 + rank)
        elif name == "precision":
            found[metric] = np.full(len(rank), 1 / int(length))
    return found


def _stars(sequences: Sequences) -> NDArray[np.int64]:
    """The rating of each event as an index from 0."""
    return (sequences.ratings - SCALE[0]).astype(np.int64)


def _normalised(logs: Floats) -> Floats:
    """Probabilities [n, K] from their logarithms up to a constant per row."""
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
