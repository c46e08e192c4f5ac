"""The findings of an audit as sentences."""

from collections.abc import Iterator

from recsys_ae.evaluation.protocols.audit import Audit

NAMES = {"valid": "validation", "test": "test"}
# Thresholds from which a finding is reported.
SHARE, TIED, SHIFT = 0.001, 0.01, 0.1  # of pairs or users; of events; in standard deviations
HEAD, HIT = 0.5, 0.2  # shares of pairs on popular items
FEW = 100  # one in so many users is few, if they have much of a part; a part with fewer than half as many users says nothing


def audit_lines(found: Audit, *, ranked: bool = True) -> list[str]:
    """The notable findings, a sentence each, with their consequence for the metrics.

    Args:
        ranked: whether there are ranking metrics; if not, what matters only for these is left out.
    """
    lines = [*_about_time(found), *_about_cold_start(found), *_about_repeats(found, ranked=ranked)]
    lines += _about_heavy_users(found)
    return [*lines, *(_about_lists(found) if ranked else ()), *_about_ratings(found), *_about_looks(found)]


def _about_time(found: Audit) -> Iterator[str]:
    if (timing := found.timing) is None:
        yield "There are no times, so it is unknown whether models learn from events later than those they are tested on."
        return
    name = NAMES[found.part]
    in_order = timing.users_with_later == 0  # each user's own events
    if timing.later:
        later = f"{percent(timing.later)} of the known events are later than the first {name} event"
        own = f"{timing.users_with_later} of {found.users} users have known events later than their own first one"
        users = "though no user has known events later than their own first one" if in_order else f"and {own}"
        yield f"{later}, {users}: models learn from the future, so expect lower numbers live."
    if timing.tied >= TIED and in_order:
        tied = f"{percent(timing.tied)} of the {name} events have the time of a known event of their user"
        yield f"{tied} ({percent(timing.tied_in_all)} of all events are tied), so the order of the file decides what is tested."


def _about_cold_start(found: Audit) -> Iterator[str]:
    name = NAMES[found.part]
    if found.cold_user_pairs >= SHARE and not found.next_events:
        cold = f"{found.cold_users} of {found.users} users ({percent(found.cold_user_pairs)} of the {name} pairs)"
        share = "all" if found.cold_users == found.users else "part"
        yield f"{cold} have no history, so {share} of each number is about users without a history."
    if found.cold_item_pairs >= SHARE:
        cold = f"{found.cold_items} items ({percent(found.cold_item_pairs)} of the {name} pairs)"
        yield f"{cold} are not in the training part, so only models that use features can recommend them."
    if found.near_users and found.near_users >= SHARE * found.compared_users:
        twins = f"{found.near_users} of {found.compared_users} users share at least 90 % of their items with another"
        exact = f" ({found.same_users} have exactly the same)" if found.same_users else ""
        yield f"{twins}{exact}, so the history of one reveals the test items of the other, and intervals are too narrow."


def _about_repeats(found: Audit, *, ranked: bool) -> Iterator[str]:
    if found.repeats and found.repeats >= SHARE * found.pairs:
        in_lists = "so a model that repeats the history is rewarded" if found.repeats_wanted else "so they count as irrelevant"
        means = in_lists if ranked else "so models have already seen a rating of each"
        yield f"{percent(found.repeats / found.pairs)} of the {NAMES[found.part]} pairs are in the history already, {means}."


def _about_heavy_users(found: Audit) -> Iterator[str]:
    for part, one in found.heaviest.items():
        if 2 * one.of >= FEW and one.users <= max(1, one.of // FEW):
            who, them = ("1 user has", "this user") if one.users == 1 else (f"{one.users} users have", "these users")
            unit = "events" if found.next_events else "pairs"
            why = f"so as much of each number is about {them}" if found.next_events else "more than people usually have"
            yield f"{who} {percent(one.share)} of the {NAMES[part]} {unit}, {why}; leave out bots."


def _about_lists(found: Audit) -> Iterator[str]:
    name = NAMES[found.part]
    if not found.relevant_users:
        return
    if (popular := found.popularity).top_tenth >= HEAD or popular.hits_100 >= HIT:
        head = f"The most popular 10 % of the items have {percent(popular.top_tenth)} of the {name} pairs"
        hits = f"{percent(popular.hits_10)} and {percent(popular.hits_100)} of the relevant {name} pairs"
        unknown = "" if found.repeats_wanted else " that a user does not know yet"
        lists = f"lists of the 10 and the 100 most popular ones{unknown} contain {hits}"
        yield f"{head}, and {lists}, so read each number beside that of popularity."
    if 2 * found.single_users >= found.relevant_users and not found.next_events:
        single = f"{found.single_users} of {found.relevant_users} users have a single relevant {name} pair"
        yield f"{single}, so their recall@K is 0 or 1, and their precision@K at most 1 / K."


def _about_ratings(found: Audit) -> Iterator[str]:
    if found.ratings is not None and abs(found.ratings.in_deviations) >= SHIFT:
        means = f"{found.ratings.tested_mean:.3g}, that of the training part {found.ratings.train_mean:.3g}"
        yield f"The mean {NAMES[found.part]} rating is {means}, so errors include a shift that models could not learn."


def _about_looks(found: Audit) -> Iterator[str]:
    if found.looks:
        models = "1 other model was" if found.looks == 1 else f"{found.looks} other models were"
        yield f"{models} tested on this part before, and by chance, the best of many looks better than it is."


def percent(share: float) -> str:
    """A share in per cent with three significant digits; 100 only if it is all.

    >>> percent(0.12345), percent(0.00012), percent(0.99999), percent(1)
    ('12.3 %', '0.012 %', '99.9 %', '100 %')
    """
    return f"{100 if share == 1 else min(100 * share, 99.9):.3g} %"
