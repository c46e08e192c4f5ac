"""Sends the record of a run to a store that could not be used while the run went on."""

import os
from pathlib import Path

from recsys_ae.errors import ConfigError, DataError, TrackingError
from recsys_ae.files import locked_folder
from recsys_ae.surroundings import HIDDEN, masked
from recsys_ae.tracking.mlflow_store import MlflowStore
from recsys_ae.tracking.record import FOLDER, HEADER, NAME, Record, lacks, read, without_login
from recsys_ae.tracking.sender import Sender
from recsys_ae.tracking.uris import store_uri

PATIENCE = 120.0  # seconds in which nothing arrives


def recorded_store(output: Path) -> str:
    """The URI of the store that a record was last meant for.

    Raises:
        ConfigError: it contained a login, which is not kept, and $MLFLOW_TRACKING_URI does not name the same store.
    """
    store, named = _header(output)["store"], os.environ.get("MLFLOW_TRACKING_URI", "")
    if HIDDEN not in store:
        return store
    if without_login(masked(named)) != without_login(store):  # the login may be in other variables
        raise ConfigError(f"{output} was recorded for {store}, whose password is not kept; give the URI as --tracking-uri")
    return named


def upload(output: Path, uri: str) -> int:
    """Send what the store at `uri` lacks of the record in `output`; returns the number of entries that were sent.

    What the store has already is not sent again. Runs that a killed process left open are closed as killed.

    Raises:
        DataError: there is no record, or it is damaged.
        OutputError: the run is still going on.
        TrackingError: the store cannot be used, or refuses something.
    """
    store = MlflowStore(store_uri(uri), _header(output)["experiment"])
    with locked_folder(output, f"a run is in progress in {output}, and sends its record itself; wait for it"):
        record = Record(output)
        if record.broken is not None:
            raise TrackingError(record.broken)
        try:
            missing = len(lacks(output, store.uri))
            if missing and (left := Sender(record, store).finish(PATIENCE)):
                raise TrackingError(f"{masked(store.uri)} still lacks {left}; repeat the command when it can be used")
        finally:
            record.close()
    return missing


def _header(output: Path) -> dict[str, str]:
    headers = [entry.content for entry in read(output) if entry.kind == HEADER]
    if not headers:
        raise DataError(f"{output} holds no record of a run ({output / FOLDER / NAME}); give the --output of a tracked run")
    return headers[-1]
