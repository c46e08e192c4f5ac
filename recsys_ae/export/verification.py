"""Verification of finished lists against their manifest, and against their model and history."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ae.errors import ConfigError, DataError, counted, quoted
from recsys_ae.export.checks import Check, Lists
from recsys_ae.export.manifest import ListManifest, Part, versions
from recsys_ae.export.request import ListRequest
from recsys_ae.export.scoring import BlockScorer
from recsys_ae.files import check_file
from recsys_ae.ids import Rows, shown

SAMPLE = 100  # users whose lists are made again


def verify_lists(
    folder: Path, request: ListRequest | None = None, *, sample: int = SAMPLE, users: Rows | None = None
) -> list[Check]:
    """Check the lists in a folder.

    Files are read one by one, so memory holds one of them and the ids of all users.

    Args:
        request: a request for the same lists, from their model and history; if None, lists are not compared with these.
        sample: number of users, spread over the export, whose lists are made again and compared to the last bit.
        users: rows in the history of the users to take instead of a sample.

    Raises:
        ConfigError: `sample` is below 0.
        DataError: there is no manifest, or it is damaged.
    """
    if sample < 0:
        raise ConfigError(f"sample must be at least 0, got {quoted(sample)}")
    manifest = ListManifest.read_alone(folder)
    against = _Inputs(manifest, request, sample, users)
    checks = _own_checks(manifest)
    ids: list[pa.Array] = []
    n_rows = 0
    for name, part in manifest.files.items():
        lists = _read(folder / name, part, manifest, checks)
        if lists is not None:
            lists.check(manifest.k, checks)
            against.look_at(lists, sum(map(len, ids)))
            ids.append(lists.users)
            n_rows += len(lists.of_row)
    _check_whole(folder, manifest, n_rows, ids, checks)
    return [*checks.values(), *against.checks()]


def _own_checks(manifest: ListManifest) -> dict[str, Check]:
    served = manifest.n_users - manifest.users_without_items
    wanted = {
        "files": f"{counted(len(manifest.files), 'file')} as in the manifest, and no others",
        "schema": ", ".join(f"{name} {kind}" for name, kind in manifest.schema.items()),
        "counts": f"{counted(manifest.rows, 'row')} of {counted(served, 'user')}",
        "users": "the rows of each user are together",
        "ranks": f"1, 2, ... in each list, at most {manifest.k}",
        "items": "no item twice in a list",
        "scores": "finite, highest first",
    }
    return {name: Check(name, detail) for name, detail in wanted.items()}


def _read(path: Path, part: Part, manifest: ListManifest, checks: dict[str, Check]) -> Lists | None:
    """The lists in a file, whose digest, schema and counts are checked; None if they cannot be read."""
    try:
        check_file(path, part.digest, "export again")
    except DataError as error:
        checks["files"].fail(str(error))
    try:
        table = manifest.read_part(path)
    except DataError as error:
        checks["counts"].fail(str(error))
        return None
    if (found := {one.name: str(one.type) for one in table.schema}) != manifest.schema:
        checks["schema"].fail(f"{path.name} has {', '.join(f'{name} {kind}' for name, kind in found.items())}")
        return None
    if missing := [name for name in table.schema.names if table[name].null_count]:
        checks["schema"].fail(f"{path.name} has rows without {missing[0]}")
        return None
    lists = Lists.of(path.name, table)
    if (table.num_rows, len(lists)) != (part.rows, part.users):
        says = f"but the manifest says {part.rows} of {part.users}"
        checks["counts"].fail(f"{path.name} has {table.num_rows} rows of {len(lists)} users, {says}")
    return lists


def _check_whole(folder: Path, manifest: ListManifest, n_rows: int, ids: list[pa.Array], checks: dict[str, Check]) -> None:
    """Check all files together."""
    try:
        manifest.check_names(folder)
    except DataError as error:
        checks["files"].fail(str(error))
    users = pa.concat_arrays(ids) if ids else pa.array([])
    served = manifest.n_users - manifest.users_without_items
    if (n_rows, len(users)) != (manifest.rows, served):
        says = f"but the manifest says {manifest.rows} of {served}"
        checks["counts"].fail(f"there are {n_rows} rows of {len(users)} users in all, {says}")
    by_user = users.value_counts()
    twice = by_user.filter(pc.greater(by_user.field("counts"), 1)).field("values")
    if len(twice):
        checks["users"].fail(f"the rows of user {shown(twice[0].as_py())} are in several places", len(twice))


class _Inputs:
    """Checks of lists against what they were made from."""

    def __init__(self, manifest: ListManifest, request: ListRequest | None, sample: int, users: Rows | None) -> None:
        self._manifest = manifest
        self._request = request
        without = "needs the model and the history: add --sample 100"
        self._same = Check("inputs", without, wrong=None)
        self._seen = Check("seen", without, wrong=None)
        self._rules = Check("rules", without, wrong=None)
        self._again = Check("sample", without, wrong=None)
        self._found: list[pa.Table] = []
        served = manifest.n_users - manifest.users_without_items
        self._numbers = np.unique(np.linspace(0, served - 1, min(sample, served)).astype(np.int64))
        self._users = users
        if request is not None:
            self._compare(request)

    def _compare(self, request: ListRequest) -> None:
        manifest, planned = self._manifest, request.planned
        self._same = Check(
            "inputs", f"model, history and options are the same as when the lists were made{self._versions()}", wrong=0
        )
        if differences := planned.differences(manifest):
            self._same.fail(f"different from when the lists were made: {', '.join(differences)}")
        if not manifest.filters["exclude_seen"]:
            self._seen.detail = "the lists may contain seen items"
        elif planned.seen == manifest.seen:
            self._seen = Check("seen", "no item that its user has seen, unless it is repeatable")
        else:
            self._seen.detail = "the history is a different one"
        if not request.scorer.rules.counts:
            self._rules = Check("rules", "there are no rules")
        elif planned.rules == manifest.rules:
            self._rules = Check("rules", "only candidates, no blocked item, no category above its cap")
        else:
            self._rules.detail = "the lists were made under other rules"

    def _versions(self) -> str:
        """The versions that changed since the lists were made, for messages."""
        now = versions()
        changed = [
            f"{name} {one}, now {now.get(name)}" for name, one in self._manifest.versions.items() if now.get(name) != one
        ]
        return f" ({'; '.join(changed)})" if changed else ""

    def look_at(self, lists: Lists, first: int) -> None:
        """Check the lists of a file; `first` is the number of lists in the files before it."""
        if self._request is None:
            return
        scorer = self._request.scorer
        if self._seen.wrong is not None:
            lists.check_unseen(scorer.history if scorer.seen is None else scorer.seen, scorer.rules, self._seen)
        if self._rules.wrong is not None:
            lists.check_rules(scorer.rules, self._rules)
        numbers = self._numbers - first
        if self._users is not None:
            wanted = pa.array(scorer.history.users.values[self._users], lists.users.type)
            numbers = np.flatnonzero(pc.is_in(lists.users, wanted).to_numpy(zero_copy_only=False))
        self._found.append(lists.rows_of(numbers))

    def checks(self) -> list[Check]:
        """All checks; the last one makes lists again."""
        if self._request is not None and not self._same.wrong:
            self._again = self._made_again(self._request.scorer, pa.concat_tables(self._found))
        elif self._request is not None:
            self._again.detail = "the lists were made from other inputs"
        return [self._same, self._seen, self._rules, self._again]

    def _made_again(self, scorer: BlockScorer, found: pa.Table) -> Check:
        known = scorer.history.users
        rows = known.find(found["user_id"].unique().to_numpy(zero_copy_only=False)) if self._users is None else self._users
        check = Check("sample", f"the lists of {len(rows)} users, made again, are the same to the last bit")
        found, again = _bits(found), _bits(scorer.table(rows[rows >= 0]))
        if self._users is None and found.equals(again):
            return check
        for row in rows.tolist():
            if row < 0:
                check.fail("a user of the lists is not in the history")
                continue
            user = known.values[row]
            one, other = (table.filter(pc.equal(table["user_id"], user)) for table in (found, again))
            if not one.equals(other):
                check.fail(f"the list of user {shown(user)} is different when it is made again{self._versions()}")
        return check


def _bits(table: pa.Table) -> pa.Table:
    """The table with the bits of each score, so that 0.0 is not -0.0."""
    place = table.schema.get_field_index("score")
    return table.set_column(place, "score", pa.array(table["score"].to_numpy().view(np.int32))).combine_chunks()
