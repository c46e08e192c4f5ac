"""Every error a user can cause. Each message says what was got, what was wanted, and where."""

from collections.abc import Iterable
from difflib import get_close_matches


class RecsysError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns for it."""

    exit_code = 1


class ConfigError(RecsysError):
    """A pipeline, card, option or argument that cannot be carried out as written."""

    exit_code = 2


class DataError(RecsysError):
    """Data that is missing, malformed, or not what its card declares."""


class UnknownIdError(DataError):
    """A user or item id that an `IdMap` does not hold."""


class ColdUserError(DataError):
    """A user of whom a model has nothing to go by, where that is declared to be an error."""


class NotFittedError(RecsysError):
    """A model was asked for scores before `fit`."""


class TrainingError(RecsysError):
    """Training cannot go on, for example because the loss is no longer finite."""


class OutputError(RecsysError):
    """An output folder that is taken, in use or cannot be written."""


class Terminated(BaseException):
    """SIGTERM. Not an `Exception`, and not a `KeyboardInterrupt`, which the command line's parser keeps for itself."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The tail of an "unknown name" message: a close match if there is one, else all known names.

    >>> did_you_mean("rmes", ["rmse", "mae"])
    "did you mean 'rmse'?"
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(names)}"
