"""Scores by similar sessions, and the normal equations for predicting the rest of a session from its start."""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from recsys_ae.core.kernels.compiled import compiled
from recsys_ae.core.kernels.largest import move_largest


class Sessions(NamedTuple):
    """Events of S sessions, the most recent last, and where each column occurs."""

    columns: Any  # [E], the column of each event
    starts: Any  # [S + 1]; the events of session s are starts[s] to starts[s + 1]
    again: Any  # bool [E]: whether the column comes again later in the session
    weights: Any  # float64 [S], factors of the similarity
    visits: Any  # [V], by column, then increasing: the sessions with the column
    places: Any  # [V]: the last event of the session with the column, counted from the start of the session
    visit_starts: Any  # [D + 1]; the visits of column c are visit_starts[c] to visit_starts[c + 1]


class Queries(NamedTuple):
    """The columns of B current sessions, each once, the most recent first."""

    columns: Any
    weights: Any  # float64, positive
    starts: Any  # [B + 1]


@compiled()
def _candidates(queries: Any, b: int, sessions: Any, sample_size: int, overlap: Any, match: Any, found: Any) -> int:
    """The number of sessions that share a column with query b; they are written to `found`.

    overlap[s] (float64 [S], all 0) becomes the sum of the weights of the columns that b shares with session s, and match[s] the
    place in s of the first shared column of b. Of each column only the `sample_size` most recent sessions count.
    """
    n = 0
    for p in range(queries.starts[b], queries.starts[b + 1]):
        c = queries.columns[p]
        end = sessions.visit_starts[c + 1]
        for v in range(max(sessions.visit_starts[c], end - sample_size), end):
            s = sessions.visits[v]
            if overlap[s] == 0:
                found[n], match[s] = s, sessions.places[v]
                n += 1
            overlap[s] += queries.weights[p]
    return n


@compiled()
def _nearest(found: Any, overlap: Any, weights: Any, sample_size: int, k: int) -> Any:
    """The k most similar of the `sample_size` most recent sessions in `found`, ties to the more recent.

    If there are fewer, all of them. `found` is reordered.
    """
    if len(found) > sample_size:
        move_largest(found, sample_size)
        found = found[:sample_size]
    if len(found) <= k:
        return found
    similarity = np.empty(len(found))
    for f in range(len(found)):
        similarity[f] = overlap[found[f]] * weights[found[f]]
    largest = similarity.copy()
    move_largest(largest, k)
    least = largest[k - 1]
    near, tied = np.empty(k, found.dtype), np.empty(len(found), found.dtype)
    n = n_tied = 0
    for f in range(len(found)):
        if similarity[f] > least:
            near[n] = found[f]
            n += 1
        elif similarity[f] == least:
            tied[n_tied] = found[f]
            n_tied += 1
    move_largest(tied[:n_tied], k - n)
    for f in range(n, k):
        near[f] = tied[f - n]
    return near


@compiled(parallel=True)
def neighbour_scores(
    queries: Any, sessions: Any, sample_size: int, k: int, by_distance: Any, once: float, threads: int, out: Any
) -> None:
    """Add the scores of the columns by the k nearest sessions of each query to `out` [B, D].

    The similarity of a session is its weight times the sum of the weights of the columns that it shares with the query. It is
    added to the score of the column of each of its events, times by_distance[d], where d is the distance in events to the
    last event with the first shared column of the query; events beyond the end of `by_distance` are ignored. The last event of
    a column of the query counts only `once` as much, because every neighbour has such a column by construction.
    """
    reach = len(by_distance)
    for t in prange(threads):
        asked = np.zeros(out.shape[1], np.bool_)
        overlap, match = np.zeros(len(sessions.weights)), np.empty(len(sessions.weights), np.int32)
        found = np.empty(len(sessions.weights), np.int32)
        for b in range(t, len(queries.starts) - 1, threads):
            n = _candidates(queries, b, sessions, sample_size, overlap, match, found)
            line, shared = out[b], queries.columns[queries.starts[b] : queries.starts[b + 1]]
            asked[shared] = True
            for s in _nearest(found[:n], overlap, sessions.weights, sample_size, k):
                similarity = overlap[s] * sessions.weights[s]
                at = sessions.starts[s] + match[s]
                for e in range(max(sessions.starts[s], at - reach + 1), min(sessions.starts[s + 1], at + reach)):
                    c = sessions.columns[e]
                    share = once if asked[c] and not sessions.again[e] else 1.0
                    line[c] += similarity * by_distance[abs(e - at)] * share
            asked[shared] = False
            for f in range(n):
                overlap[found[f]] = 0


@compiled()
def _sums_over_cuts(starts: Any, weights: Any, decay: float, own: Any, between: Any) -> None:
    """The sums over the cuts of each session that `cut_products` needs.

    own[q] (float64 [E]) becomes the sum of w_t decay^(2 (t - q)) over the cuts t at or after q, and between[q] the sum of w_t
    over the cuts t before q; cut t is after event t, and the last event of a session has no cut after it.
    """
    for s in range(len(starts) - 1):
        first, end = starts[s], starts[s + 1]
        for q in range(first, end):
            between[q] = weights[s] * (q - first)
        own[end - 1] = 0
        for q in range(end - 2, first - 1, -1):
            own[q] = weights[s] + decay * decay * own[q + 1]


@compiled(parallel=True)
def cut_products(
    columns: Any, starts: Any, session: Any, events: Any, event_starts: Any, weights: Any, decay: Any, gram: Any, cross: Any
) -> None:
    """gram += S^T W S and cross += S^T W T, both [D, D], where S and T have a row for each place to cut a session in two.

    A row of S holds the past and a row of T the future: the event d events before the cut adds decay[d] to its column in S, the
    event d events after it to its column in T. W is diagonal and holds the weight of the session. The rows are never formed:
    for two events p <= q of a session, the sum over all cuts is decay^(q - p) times a sum that depends on q alone in S^T W S,
    and decay^(q - p - 1) times the number of cuts between them in S^T W T.

    Args:
        columns, starts, session: events of sessions, [E], [S + 1] and [E].
        events, event_starts: the events of each column, [E] and [D + 1].
        weights: float64 [S].
        decay: float64, the powers of the decay from 0 as long as they are not negligible; pairs further apart are ignored.
        gram, cross: float32 [D, D].
    """
    own, between = np.empty(len(columns)), np.empty(len(columns))
    _sums_over_cuts(starts, weights, decay[1] if len(decay) > 1 else 0.0, own, between)
    reach = len(decay)
    for c in prange(len(event_starts) - 1):
        past, future = gram[c], cross[c]
        for n in range(event_starts[c], event_starts[c + 1]):
            p = events[n]
            first, end = starts[session[p]], starts[session[p] + 1]
            for q in range(max(first, p - reach + 1), min(end, p + reach)):
                past[columns[q]] += decay[abs(q - p)] * own[max(p, q)]
            for q in range(p + 1, min(end, p + reach + 1)):
                future[columns[q]] += decay[q - p - 1] * (between[q] - between[p])
