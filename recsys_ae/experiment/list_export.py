"""The key `export` of a pipeline of recommenders: what is exported, and under which rules."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pandas as pd
from pydantic import BeforeValidator, Field

from recsys_ae.data.cards import RatingsCard
from recsys_ae.data.layouts import TitleFile
from recsys_ae.errors import ConfigError, UnknownIdError, counted
from recsys_ae.experiment.pipeline_file import ExportSpec
from recsys_ae.export.histories import users_in
from recsys_ae.export.provenance import Sources, title_option, unchanged
from recsys_ae.export.rule_files import ROLES, WAY_OUT, RuleFiles
from recsys_ae.export.writing import Format, Layout, Titles, Writing
from recsys_ae.ids import shown, spelling_hint
from recsys_ae.interactions import Interactions

FILES = (*ROLES, "users", "titles")

logger = logging.getLogger(__name__)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Files = Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]


class ListExport(ExportSpec):
    """Top-k lists of one model, or its item vectors.

    The other keys are the options of the command `export` of the same names. Relative paths are relative to the pipeline file.
    """

    k: int = Field(100, ge=1)
    what: Literal["lists", "item_vectors"] = "lists"
    candidates: Files = Field(default_factory=list)
    block: Files = Field(default_factory=list)
    repeatable: Files = Field(default_factory=list)
    categories: Files = Field(default_factory=list)
    cap: int | None = Field(default=None, ge=1)
    users: str | None = None
    skip_unknown: bool = False
    format: Format = "parquet"
    layout: Layout = "rows"
    titles: str | None = None

    def in_folder(self, folder: Path) -> Self:
        found = {key: getattr(self, key) for key in FILES}
        several = {key: [str(folder / path) for path in paths] for key, paths in found.items() if isinstance(paths, list)}
        single = {key: str(folder / path) for key, path in found.items() if isinstance(path, str)}
        return self.model_copy(update={**several, **single})

    def files(self) -> dict[str, Path]:
        single = {"users": self.users, "titles": self.titles}
        return self._rules.named() | {name: Path(path) for name, path in single.items() if path is not None}

    def check(self) -> None:
        """Raise `ConfigError` for keys that are valid alone but not together."""
        given = [key for key in (*FILES, "cap") if getattr(self, key)]
        if given and self.what != "lists":
            raise ConfigError(f"{given[0]} is about lists, but what is {self.what}; remove one of them")
        self._rules, Writing(self.format, self.layout)

    @property
    def _rules(self) -> RuleFiles:
        several = {key: tuple(map(Path, getattr(self, key))) for key in ROLES}
        return RuleFiles(**several, cap=self.cap)

    def options(
        self,
        data: Interactions,
        card: tuple[RatingsCard, Path] | None,
        titled: tuple[Path, TitleFile | None] | None,
        sources: Sources | None = None,
    ) -> dict[str, Any]:
        """The arguments of `export_recommendations` that come from files; these are read now and added to the `sources`.

        Args:
            titled: the file of titles and its layout, see `locate_titles`.

        Raises:
            UnknownIdError: a file has a user or item that is not in the data.
            DataError: a file cannot be read.
        """
        path, layout = titled or (None, None)
        with unchanged({**self.files(), "titles": path}) as files:
            named = card[0] if card else None
            rules = self._rules.read(data.items, data.users, card=named, skip_unknown=self.skip_unknown)
            titles = None if path is None else Titles.read(path, data.items, layout)
            found = {"users": self._users(data, card), "rules": rules, "titles": titles}
        sources = sources or Sources()
        read = sources.files | files
        how = {key: value for key in ("skip_unknown", "cap") if (value := getattr(self, key))} | title_option(layout)
        written = {"writing": Writing(self.format, self.layout), "sources": replace(sources, files=read, options=how)}
        return {**found, **written}

    def _users(self, data: Interactions, card: tuple[RatingsCard, Path] | None) -> pd.Series | None:
        """The ids of the users to serve; None for all."""
        if self.users is None:
            return None
        users = users_in(Path(self.users), data.users.kind, card)
        unknown = data.users.find(users) < 0
        count, hint = counted(int(unknown.sum()), "such user"), spelling_hint(users[unknown], data.users)
        if unknown.any() and not self.skip_unknown:
            first = shown(users[unknown].iloc[0])
            raise UnknownIdError(f"{self.users}: the data has no user {first} ({count}){hint}; {WAY_OUT}")
        if hint:
            logger.warning("%s: left out users that are not in the data (%s)%s", self.users, count, hint)
        return users[~unknown]
