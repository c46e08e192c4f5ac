"""Damage to files: single flipped bits, as disks and memory make them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recsys_ae.errors import RecsysError


def flips(path: Path, n: int, seed: int = 0) -> Iterator[str]:
    """Flip one of n random bits of a file at a time; yields what was done, and mends the file again."""
    content = path.read_bytes()
    rng = np.random.default_rng(seed)
    for place in rng.choice(8 * len(content), min(n, 8 * len(content)), replace=False).tolist():
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        yield f"bit {place % 8} of byte {place // 8} of {len(content)} in {path.name}"
    path.write_bytes(content)


def outcome(action: Callable[[], Any]) -> tuple[Any, str | None]:
    """The result of an action and None, or None and the sentence of the deliberate error that ended it."""
    try:
        return action(), None
    except RecsysError as error:
        sentence = str(error)
    assert len(sentence.splitlines()) == 1, sentence
    assert len(sentence) < 600, sentence
    return None, sentence
