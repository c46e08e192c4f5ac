"""Requests for lists: what to export, checked and digested before anything is scored."""

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from recsys_ae.declaration import parameters
from recsys_ae.digests import digest_of
from recsys_ae.errors import ConfigError
from recsys_ae.evaluation.protocols.protocol import pairs_digest
from recsys_ae.export.manifest import ListManifest, versions
from recsys_ae.export.provenance import Provenance, Sources
from recsys_ae.export.scoring import BlockScorer
from recsys_ae.export.writing import Titles, Writing
from recsys_ae.ids import Rows
from recsys_ae.interactions import Interactions
from recsys_ae.models import MODELS
from recsys_ae.models.base import Recommender, check_counts, fitted_state
from recsys_ae.models.recommend import Cold, check_seen, scorable
from recsys_ae.models.rules import Rules
from recsys_ae.models.storage import model_digest

PART_USERS = 8_192

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ListRequest:
    """A request for the lists of some users of a history.

    Attributes:
        rows: int64 [N], of the users in the history, in the order of the lists.
        planned: the manifest, as far as it is known before the lists are made.
        titles: titles of the items, if they are to be written too.
    """

    scorer: BlockScorer
    rows: Rows
    planned: ListManifest
    titles: Titles | None = None

    @classmethod
    def of(
        cls,
        model: Recommender,
        history: Interactions,
        k: int,
        *,
        users: ArrayLike | None = None,
        exclude_seen: bool = True,
        rules: Rules | None = None,
        cold: Cold = "popular",
        part_users: int = PART_USERS,
        batch_users: int | None = None,
        seen: Interactions | None = None,
        writing: Writing | None = None,
        titles: Titles | None = None,
        sources: Sources | None = None,
    ) -> "ListRequest":
        """The request for the best `k` items of each user; for the arguments and errors see `export_recommendations`."""
        fitted_state(model, history)
        check_seen(seen, history)
        rows = np.arange(history.n_users) if users is None else history.users.rows(users)
        if len(np.unique(rows)) < len(rows):
            raise ConfigError("`users` contains an id twice; name each user once")
        check_counts(k=k, part_users=part_users, batch_users=1 if batch_users is None else batch_users)
        if k > history.n_items:
            logger.warning("lists are shorter than %d, because there are only %d items", k, history.n_items)
        rules = Rules(history.items) if rules is None else rules
        rules.check(history.items)
        scorer = BlockScorer(model, history, k, rules, exclude_seen, seen, cold, batch_users)
        planned = ListManifest(
            model=MODELS.name_of(model),
            model_digest=model_digest(model),
            parameters=parameters(model),
            data_digest=history.digest,
            n_events=history.n_events,
            n_items=history.n_items,
            seen=pairs_digest(history if seen is None else seen),
            k=k,
            filters={"exclude_seen": exclude_seen, "cold": cold, **rules.counts},
            rules=rules.digest,
            users=digest_of([rows.tobytes()]),
            n_users=len(rows),
            cold_users=int((~scorable(model, history, rows, cold)).sum()),
            part_users=part_users,
            writing=replace(writing or Writing(), titles="" if titles is None else titles.digest),
            schema={name: str(scorer.schema.field(name).type) for name in scorer.schema.names},
            rows=0,
            users_without_items=0,
            versions=versions(),
            made=Provenance.start(sources),
        )
        return cls(scorer, rows, planned, titles)
