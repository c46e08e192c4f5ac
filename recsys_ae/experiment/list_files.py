"""The inputs of an export that are named on the command line: a model, a history, and files of rules and titles."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys_ae.data.fetch import locate_titles
from recsys_ae.data.layouts import TitleFile
from recsys_ae.data.skipped import SkippedLines
from recsys_ae.errors import ConfigError
from recsys_ae.experiment.log_files import check_files, check_logs
from recsys_ae.experiment.pipeline_file import ratings_card
from recsys_ae.export.histories import history_for, id_kinds, users_in
from recsys_ae.export.provenance import Sources, title_option, unchanged
from recsys_ae.export.request import ListRequest
from recsys_ae.export.rule_files import RuleFiles
from recsys_ae.export.writing import Titles
from recsys_ae.files import is_file, path_of, present
from recsys_ae.fitted import check_model
from recsys_ae.models.storage import load_model, model_digest
from recsys_ae.tracking import URIS, default_uri, local_copy
from recsys_ae.tracking.lineage import model_run


@dataclass(frozen=True)
class ListFiles:
    """The inputs of an export, as they are named.

    Attributes:
        model: a folder, or a URI in the store at `tracking_uri`.
        users: file of the users who get a list; if None, those of the history.
        titles, title_layout: file of titles and its layout; where None, as `locate_titles` finds them.
        card, skip_unknown: see `history_for`; `skip_unknown` applies to rules too.
    """

    model: str
    history: Path
    users: Path | None = None
    card: str | None = None
    skip_unknown: bool = False
    tracking_uri: str | None = None
    rules: RuleFiles = field(default_factory=RuleFiles)
    titles: Path | None = None
    title_layout: TitleFile | None = None

    @property
    def dataset(self) -> str:
        """The name of the history."""
        return ratings_card(self.card)[0].name if self.card else self.history.stem

    @classmethod
    def of(
        cls,
        sources: Sources,
        *,
        model: str | None = None,
        history: Path | None = None,
        archive: Path | None = None,
        tracking_uri: str | None = None,
    ) -> "ListFiles":
        """The inputs that an export was made from, with another place of the model or the history if that is given.

        Args:
            archive: a folder in which to look, under any name, for files that were moved or have changed.

        Raises:
            ConfigError: the model or the history is neither given nor known.
            DataError: a file is not in the archive either.
        """
        given, made_by = sources.model or "", sources.run
        stored = f"runs:/{made_by}/model" if made_by and given.startswith("models:/") else sources.model  # an alias moves on
        needed = {name: file for name, file in sources.files.items() if name != "history" or history is None}
        paths = {name: Path(file.path) if archive is None else file.find(archive) for name, file in needed.items()}
        for name, known in (("model", model or stored), ("history", history or paths.get("history"))):
            if known is None:
                raise ConfigError(f"the manifest does not say from which {name} the lists were made; give it as --{name}")
        card = str(paths["card"]) if "card" in paths else sources.options.get("card")
        others = {"users": paths.get("users"), "card": card, "skip_unknown": sources.options.get("skip_unknown", False)}
        others["titles"] = paths.get("titles")
        others["title_layout"] = TitleFile(**layout) if (layout := sources.options.get("titles")) else None
        rules = RuleFiles.of(paths, sources.options.get("cap"))
        return cls(str(model or stored), history or paths["history"], **others, tracking_uri=tracking_uri, rules=rules)

    def missing(self) -> Path | None:
        """A file that does not exist; None if all do."""
        card = Path(self.card) if self.card and os.path.isabs(self.card) else None  # else the name of a shipped one
        named = [self.history, self.users, card, self.titles, *self.rules.named().values()]
        return next((path for path in named if path is not None and not os.path.exists(path)), None)

    def request(self, k: int, **options: Any) -> ListRequest:
        """The request for top-k lists; the files are read now. For the options see `export_recommendations`."""
        folder = path_of(local_copy(self.model, self.tracking_uri))
        check_model(present(folder))
        card = ratings_card(self.card) if self.card else None
        check_logs(self.history, card=card, system=folder)
        titles, layout = self.titles, self.title_layout
        if card and layout is None:
            titles, layout = locate_titles(*card, titles) or (None, None)
        check_files(self.users, titles, *self.rules.named().values())
        model = load_model(folder)
        own = Path(self.card) if self.card and is_file(Path(self.card)) else None
        named = {"history": self.history, "users": self.users, "card": own, "titles": titles, **self.rules.named()}
        skipped = SkippedLines()
        with unchanged(named) as files:
            users = None if self.users is None else users_in(self.users, id_kinds(model, card)["user"], card)
            how: dict[str, Any] = {"skip_unknown": self.skip_unknown, "users": users, "skipped": skipped}
            history, n_unknown = history_for(model, self.history, card, **how)
            declared = card[0] if card else None
            rules = self.rules.read(history.items, history.users, card=declared, skip_unknown=self.skip_unknown)
            texts = None if titles is None else Titles.read(titles, history.items, layout)
        how = {"skip_unknown": self.skip_unknown or None, "card": None if own else self.card, "cap": self.rules.cap}
        sources = Sources(
            self.model if self.model.startswith(URIS) else str(Path(self.model).absolute()),
            self._run(model_digest(model)),
            files,
            options={name: value for name, value in how.items() if value is not None} | title_option(layout),
            skipped_events=n_unknown,
            skipped_users=history.n_users - len(set(history.user_rows())) if n_unknown else 0,
            skipped_lines=len(skipped.faults),
        )
        seen = skipped.seen(history)
        found: dict[str, Any] = {"users": users, "rules": rules, "titles": texts}
        found["seen"] = None if seen is history else seen
        return ListRequest.of(model, history, k, **found, **options, sources=sources)

    def _run(self, digest: str) -> str | None:
        """The id of the MLflow run of the model, if a store is given that knows the model."""
        named = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if named == "none" or (named is None and not self.model.startswith(URIS)):
            return None
        run = model_run(default_uri(named), self.model, digest)
        return run.id if run else None
