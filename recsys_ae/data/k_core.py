"""The k-core of interactions: users and items with few interactions are removed until none is left."""

from dataclasses import replace

import numpy as np

from recsys_ae.data.cards import CoreSizes
from recsys_ae.errors import DataError
from recsys_ae.ids import IdMap
from recsys_ae.interactions import Interactions


def k_core(data: Interactions, sizes: CoreSizes) -> Interactions:
    """The largest part of `data` in which each user has `sizes.users` items and each item `sizes.items` users.

    A repeated pair counts once. Users and items that are removed are no longer among the ids.

    Raises:
        DataError: nothing is left.
    """
    users, items = data.user_rows(), data.item_rows()
    kept, before = np.ones(len(data), bool), -1
    while before != (before := int(kept.sum())):  # until a round leaves out nothing
        enough_items = np.bincount(users[kept], minlength=data.n_users) >= sizes.users
        kept &= enough_items[users]
        enough_users = np.bincount(items[kept], minlength=data.n_items) >= sizes.items
        kept &= enough_users[items]
    if not before:
        wanted = f"no users have {sizes.users} items that have {sizes.items} users each"
        raise DataError(f"k_core leaves no data: {wanted}; use smaller numbers")
    log = data.filter(kept).stored_events
    old_users, old_items = np.unique(users[kept]), np.unique(items[kept])
    log = replace(log, users=np.searchsorted(old_users, log.users), items=np.searchsorted(old_items, log.items))
    ids = IdMap(data.users.values[old_users]), IdMap(data.items.values[old_items])
    return Interactions.from_events(log, *ids, data.duplicates, data.scale)
