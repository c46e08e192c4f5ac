"""Messages and exit codes of the command line.

Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 3 a model that was not promoted, 130 interrupted, 143
terminated.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO

from recsys_ae.errors import OutputError, RecsysError, reason, shortened

NOT_PROMOTED, INTERRUPTED, TERMINATED = 3, 130, 143
RANKS = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}  # variables set by torch.distributed.run
MESSAGE_LENGTH = 480  # characters; the middle of a longer message is cut out


def in_ranks() -> bool:
    """Whether torch.distributed.run has started this process, and others with it."""
    return RANKS.issubset(os.environ) and os.environ["WORLD_SIZE"] != "1"


def leave(code: int) -> NoReturn:
    """End the process. Ranks end at once, because PyTorch's threads may abort an interpreter that shuts down slowly."""
    if not in_ranks():
        sys.exit(code)
    end(code)


def end(code: int) -> NoReturn:
    """End the process without what Python does at its end, but for writing what has been printed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # a closed stream is None
            stream.flush()
    os._exit(code)


def nowhere() -> TextIO:
    """A stand-in for a stream that was closed before the start, as by `>&-` in a shell."""
    return open(os.devnull, "w", encoding="utf-8")


def explain(error: Exception) -> tuple[str, int]:
    """Message and exit code for an exception; the message is empty if it is not a failure."""
    if isinstance(error, ReaderGoneError):
        return "", 0
    if isinstance(error, RecsysError):
        return str(error), error.exit_code
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # a usage error of the parser
        return str(error.format_message()).replace("Value error, ", ""), int(error.exit_code)  # the prefix that pydantic adds
    if isinstance(error, MemoryError):
        return f"out of memory: {error}", 1
    return f"unexpected {type(error).__name__}: {error} (--debug shows where)", 1


def one_line(message: str) -> str:
    """A message on one line of limited length, with unprintable characters escaped."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(message.split()))
    return shortened(line, MESSAGE_LENGTH)


class LogLine(logging.Formatter):
    """Formats log records as their message, preceded by the level of warnings and errors."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return level + super().format(record)


class Once(logging.Filter):
    """Drops a warning that was given before, such as one about a file that a command reads twice.

    So it does with other messages whose record has `once`, and with warnings whose record has `by_command`: the command says
    the same in its results or its last message.
    """

    def __init__(self) -> None:
        super().__init__()
        self._given: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING and not getattr(record, "once", False):
            return True
        if getattr(record, "by_command", False):
            return False
        n_given = len(self._given)
        self._given.add(f"{record.msg} {record.args}")  # not `getMessage`, whose errors would end the command
        return len(self._given) > n_given


class ReaderGoneError(Exception):
    """The reader of the output, for example `head`, has closed it."""


class Output:
    """Standard output whose failures are `ReaderGoneError` or `OutputError`, raised again by each later call.

    The latter because libraries that write to it may hide the first failure.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._failure: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._failures():
            try:
                return int(self._stream.write(text))
            except UnicodeEncodeError as error:  # what the terminal cannot show is no reason to fail
                return int(self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding)))

    def flush(self) -> None:
        with self._failures():
            self._stream.flush()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except OSError as error:
            with suppress(OSError, ValueError):  # Python flushes what is left at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            gone = isinstance(error, BrokenPipeError)
            self._failure = ReaderGoneError() if gone else OutputError(f"cannot write the output: {reason(error)}")
            raise self._failure from None
