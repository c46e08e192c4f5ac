"""Images: the IDX files of MNIST and the digits that scikit-learn ships, as arrays of pixels between 0 and 1."""

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_ae.data.cards import DigitsCard, IdxCard
from recsys_ae.data.fetch import locate
from recsys_ae.errors import DataError

IMAGES, LABELS = 0x0803, 0x0801  # unsigned bytes in three dimensions, in one


@dataclass(frozen=True)
class Images:
    """Flattened images float32 [n, height * width] in [0, 1], their labels int64 [n], and the size of one image."""

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    size: tuple[int, int]


def load_images(card: IdxCard | DigitsCard, folder: Path) -> Images:
    """The images of a card. The digits have no split of their own: every fifth one is a test image.

    Raises:
        DataError: missing, altered, truncated or mismatched files.
    """
    if isinstance(card, DigitsCard):
        return _digits()
    arrays = {}
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        path = locate(card, [getattr(card, name)], folder)
        arrays[name] = read_idx(path, IMAGES if name.endswith("images") else LABELS)
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if len(images) != len(labels):
            raise DataError(f"dataset {card.name!r}: {len(images)} {part} images but {len(labels)} labels")
    height, width = arrays["train_images"].shape[1:]
    return Images(
        _pixels(arrays["train_images"], 255),
        arrays["train_labels"].astype(np.int64),
        _pixels(arrays["test_images"], 255),
        arrays["test_labels"].astype(np.int64),
        (height, width),
    )


def read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """The array in an IDX file, plain or gzipped, which must start with `magic` and be exactly as long as it says."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    dimensions = magic & 0xFF
    header = 4 * (1 + dimensions)
    if content[:4] != struct.pack(">I", magic):
        raise DataError(f"{path} starts with 0x{content[:4].hex()}, an IDX file of this kind with {magic:#010x}")
    if len(content) < header:
        raise DataError(f"{path} is too short for an IDX file: {len(content)} bytes")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = int(np.prod(shape, dtype=object))
    if len(content) - header != expected:
        raise DataError(f"{path} holds {len(content) - header} values, its header says {expected}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _digits() -> Images:
    from sklearn.datasets import load_digits  # heavy

    digits: Any = load_digits()
    pixels, labels = _pixels(digits.images, 16), digits.target.astype(np.int64)
    test = np.arange(len(labels)) % 5 == 4
    return Images(pixels[~test], labels[~test], pixels[test], labels[test], (8, 8))


def _pixels(images: NDArray[Any], white: int) -> NDArray[np.float32]:
    return (images.reshape(len(images), -1) / np.float32(white)).astype(np.float32)
