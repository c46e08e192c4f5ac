"""Checks of logs named on the command line or in a pipeline, before the slow steps: imports and the loading of models."""

from pathlib import Path
from typing import Any

from recsys_ae.data.cards import RatingsCard
from recsys_ae.data.detection import guess_table, layout_of
from recsys_ae.data.fetch import locate_table
from recsys_ae.data.reading import reading
from recsys_ae.errors import ConfigError, UnrecognisedError
from recsys_ae.experiment.output import PIPELINE
from recsys_ae.experiment.pipeline_file import Pipeline, ratings_card
from recsys_ae.files import is_file


def check_logs(*paths: Path | None, card: tuple[RatingsCard, Path] | None, system: Path) -> None:
    """Raise `DataError` unless the files exist and have the columns of a card or, without one, columns that are recognised.

    Args:
        system: the model or the lists that the logs are for; if it belongs to the output of a run, the message about columns
            that are not recognised names the run's pipeline as a card.
    """
    for path in paths:
        if path is None:
            continue
        if card is not None:
            layout_of(path, card[0].files[0])
            continue
        try:
            guess_table(path)
        except UnrecognisedError as error:
            pipeline = _pipeline_of(system)
            hint = "pass the card as --card FILE" if pipeline is None else f"for data as in this run, pass --card {pipeline}"
            raise UnrecognisedError(f"{error}; {hint}") from None


def check_data(pipeline: Pipeline[Any]) -> None:
    """Raise `DataError` unless the file of ratings of a pipeline exists and has the declared columns.

    Files that are downloaded or have checksums take time, and are checked when the data is loaded.
    """
    card = pipeline.card
    if not isinstance(card, RatingsCard) or not card.files or card.sources or card.checksums:
        return
    if pipeline.keys.split["kind"] != "given":  # whose parts are files of their own
        layout_of(*locate_table(card, card.files, pipeline.card_folder))


def check_files(*paths: Path | None) -> None:
    """Raise `DataError` for the first of the paths that is not a file."""
    for path in paths:
        if path is not None:
            with reading(path):
                pass


def _pipeline_of(system: Path) -> Path | None:
    """The pipeline of the run in whose output a model or lists are, if it can be used as a card."""
    for folder in (system.parent, system.parent.parent):  # of out/final and out/recommendations, out/models/LABEL
        if is_file(pipeline := folder / PIPELINE):
            try:
                ratings_card(str(pipeline))
            except ConfigError:
                return None
            return pipeline
    return None
