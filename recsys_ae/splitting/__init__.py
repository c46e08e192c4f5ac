"""Protocols: functions that split interactions into training, validation and test parts.

Shares are fractions between 0 and 1. `valid` is taken from what is left for training in the same way as `test`, so that a
model's score on it predicts its score on the test part.
"""

from recsys_ae.registry import Registry
from recsys_ae.splitting.at_random import cold_items, cold_users, k_fold, per_user, random, sample_per_user, user_holdout
from recsys_ae.splitting.by_time import default_repeats, last_session, latest_sessions, leave_last, rolling_window, time_cut

PROTOCOLS = (random, per_user, leave_last, last_session, time_cut, rolling_window, k_fold, user_holdout, cold_items, cold_users)
SPLITS = Registry("split", {protocol.__name__: f"{protocol.__module__}:{protocol.__name__}" for protocol in PROTOCOLS})

__all__ = [
    "PROTOCOLS",
    "SPLITS",
    "cold_items",
    "cold_users",
    "default_repeats",
    "k_fold",
    "last_session",
    "latest_sessions",
    "leave_last",
    "per_user",
    "random",
    "rolling_window",
    "sample_per_user",
    "time_cut",
    "user_holdout",
]
