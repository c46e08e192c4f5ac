"""Errors that a user can cause. Messages say what was expected, what was found, and where."""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

MOST_NAMES = 10_000  # in a folder, of which similar ones are looked for: enough for one that people name files in


class RecsysError(Exception):
    """Base class of all deliberate errors; `exit_code` is the exit status of the command."""

    exit_code = 1


class ConfigError(RecsysError):
    """A pipeline, card, option or argument that cannot be carried out as written."""

    exit_code = 2


class DataError(RecsysError):
    """Data that is missing, malformed, or not what its card declares."""


class UnrecognisedError(DataError):
    """Columns of a file that are not there or, without a card, not recognised by their names."""


class UnknownIdError(DataError):
    """A user or item id that an `IdMap` does not contain."""


class ColdUserError(DataError):
    """A user the model cannot score, under the policy that makes this an error."""


class NotFittedError(RecsysError):
    """A model was used before `fit`."""


class TrainingError(RecsysError):
    """Training cannot continue, for example because the loss is no longer finite."""


class RanksError(RecsysError):
    """Processes that train together cannot continue together."""


class OutputError(RecsysError):
    """An output folder that is taken, in use or not writable."""


class OtherInputsError(OutputError):
    """The output folder holds a result made from other inputs."""


class TrackingError(RecsysError):
    """A tracking store that cannot be used, or lacks part of a run, where that is not acceptable."""


class Terminated(BaseException):
    """Raised on SIGTERM and SIGHUP. Not a `KeyboardInterrupt`, which the command line's parser would handle itself."""


class RankLost(Terminated):
    """Another of the processes that train together has ended; without a message if another one has reported it."""


def described(value: object) -> str:
    """A wrong argument for a message: strings, numbers, paths and None are quoted, anything else is named by its type.

    >>> described("log.csv"), described([1, 2])
    ("'log.csv'", 'list')
    """
    return quoted(value) if isinstance(value, str | int | float | Path | None) else type(value).__name__


def quoted(value: object, limit: int = 80) -> str:
    """`repr(value)` for a message, shortened to `limit` characters.

    >>> quoted("a" * 100, limit=16)
    "'aaaaa...aaaaa'"
    """
    return shortened(repr(value), limit)


def shortened(text: str, limit: int) -> str:
    """`text` with its middle cut out if it is longer than `limit` characters."""
    keep = (limit - 3) // 2
    return text if len(text) <= limit else f"{text[:keep]}...{text[-keep:]}"


def reason(error: object, limit: int = 200) -> str:
    """The message of a system or library error on one line, shortened; its type if it has none."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return shortened(" ".join(text.split()), limit)


def counted(number: int, what: str) -> str:
    """A number of something that is named in the singular, for a message.

    >>> counted(1, "such row"), counted(0, "user"), counted(2000, "entry")
    ('1 such row', '0 users', '2,000 entries')
    """
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an "unknown name" message: a close match if there is one, else all known names.

    >>> did_you_mean("rmes", ["rmse", "mae"])
    "did you mean 'rmse'?"
    """
    names = sorted(known)
    close = get_close_matches(name[:100], names, n=1, cutoff=0.65)
    return f"did you mean {quoted(close[0])}?" if close else f"known are: {shortened(', '.join(names), 300)}"


def similar_path(path: Path) -> str:
    """The end of a message about a file that does not exist: another path with a similar name; empty if there is none."""
    below = Path()
    try:
        while not path.parent.exists():
            path, below = path.parent, path.name / below
        with os.scandir(path.parent) as entries:
            names = {entry.name for entry in islice(entries, MOST_NAMES)} - {path.name}  # which may be a folder or broken link
        close = get_close_matches(path.name[:100], sorted(names), n=1, cutoff=0.65)
        found = [path.parent / name for name in close]
        found = [whole for place in found if (whole := place / below).exists()] or found
    except (OSError, ValueError):  # an impossible name, or a folder that cannot be read
        return ""
    return f"; did you mean {quoted(str(found[0]), limit=255)}?" if found else ""
