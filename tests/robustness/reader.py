"""The description of a reader, and what its makers share."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustness.catalogue import write


@dataclass(frozen=True)
class Reader:
    """One way in which files get into the program.

    Attributes:
        make: writes good files to a folder.
        read: the result of reading them, in the current folder; compared by its `repr`.
        mutated: glob patterns of the files to mutate.
        reference: what an independent, strict parser reads in the current folder, or `StrictError`; None if the files check
            themselves, so that nothing but the undamaged result is right.
        anything: whether every accepted value is right (declarations, whose values have no second opinion).
        cost: how many other mutations one of these stands for.
    """

    make: Callable[[Path], None]
    read: Callable[[], Any]
    mutated: tuple[str, ...]
    reference: Callable[[], Any] | None = None
    anything: bool = False
    cost: int = 1


def three(rows: list[Any]) -> list[Any]:
    """Sorted (user, item, rating) of events."""
    return sorted(((user, item, rating) for user, item, rating, _ in rows), key=repr)


def in_files(files: dict[str, Any]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for path, content in files.items():
            write(folder / path, content)

    return make


@contextmanager
def in_folder(folder: Path):
    from os import chdir, getcwd

    before = getcwd()
    chdir(folder)
    try:
        yield
    finally:
        chdir(before)
