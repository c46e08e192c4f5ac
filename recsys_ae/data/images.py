"""Images as pixels between 0 and 1: IDX files like those of MNIST, folders of files, the digits that scikit-learn ships."""

import logging
import os
import struct
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_ae.data.cards import DigitsCard, IdxCard, ImageFolderCard
from recsys_ae.data.fetch import locate
from recsys_ae.data.pictures import OTHER_SUFFIXES, SUFFIXES, read_picture
from recsys_ae.data.reading import unpacked
from recsys_ae.errors import DataError

IMAGES, LABELS = 0x0803, 0x0801  # unsigned bytes in three dimensions, in one
MAX_RATIO = 1032  # largest possible ratio of unpacked to packed size in gzip

logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Images:
    """Flattened images and their classes.

    Attributes:
        train, test: float32 [n, channels * height * width] between 0 and 1.
        train_labels, test_labels: int64 [n], or None where classes are unknown.
        shape: channels, height, width.
        class_names: names of the classes 0, 1, ..., or None where they are just numbers.
    """

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64] | None
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64] | None
    shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None = None


def load_images(card: IdxCard | DigitsCard | ImageFolderCard, folder: Path) -> Images:
    """The images of a card. Unless it declares test images, every fifth image is one.

    Raises:
        DataError: missing, altered, truncated, mismatched or unequal files.
    """
    if isinstance(card, IdxCard):
        return _from_idx(card, folder)
    if isinstance(card, ImageFolderCard):
        return _from_folder(card, folder)
    from sklearn.datasets import load_digits  # heavy

    digits: Any = load_digits()
    return _every_fifth(digits.images[:, None], digits.target, white=16)


def _from_idx(card: IdxCard, folder: Path) -> Images:
    loaded: dict[str, Any] = {}
    sides: list[tuple[int, ...]] = []
    for part in ("train", "test"):
        images = read_idx(locate(card, [getattr(card, f"{part}_images")], folder), IMAGES)
        labels = read_idx(locate(card, [getattr(card, f"{part}_labels")], folder), LABELS)
        if len(images) != len(labels):
            raise DataError(f"dataset {card.name!r}: {len(images)} {part} images but {len(labels)} labels")
        loaded |= {part: _pixels(images, card.white), f"{part}_labels": labels.astype(np.int64)}
        sides.append(images.shape[1:])
    if sides[0] != sides[1]:
        train, test = (f"{high} x {wide}" for high, wide in sides)
        files = f"{card.train_images} are {train}, those of {card.test_images} {test}"
        raise DataError(f"dataset {card.name!r}: images of {files} (height x width); all must have the same size")
    loaded["shape"] = (1, *sides[0])
    return Images(**loaded)


def read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """The array in an IDX file, plain or gzipped, which must start with `magic` and be as long as its header announces."""
    length = 4 * (1 + (magic & 0xFF))  # of the header: the magic number and each dimension take four bytes
    with unpacked(path) as file:
        try:
            header = file.read(length)
            if header[:4] != struct.pack(">I", magic):
                raise DataError(
                    f"{path} is not an IDX file of this kind: it starts with 0x{header[:4].hex()}, not {magic:#010x}"
                )
            if len(header) < length:
                raise DataError(f"{path} is too short for an IDX file: {len(header)} bytes")
            _, *shape = struct.unpack(f">{length // 4}I", header)
            expected, possible = prod(shape), (MAX_RATIO if path.suffix == ".gz" else 1) * path.stat().st_size
            if expected > possible:
                raise DataError(f"{path} is truncated: its header announces {expected} values, more than the file can hold")
            content = file.read(expected)
            more = file.read(1)
        except zlib.error as error:
            raise DataError(f"{path} cannot be read: {error}") from None
    if not expected:
        raise DataError(f"{path} is empty: its header announces {' x '.join(map(str, shape))} values")
    if len(content) < expected or more:
        found = f"over {expected}" if more else len(content)
        raise DataError(f"{path} is damaged: it holds {found} values, but its header announces {expected}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _from_folder(card: ImageFolderCard, folder: Path) -> Images:
    """PNG and JPEG files in the order of their paths; if they are in several folders, shuffled, with a class per folder."""
    root = folder / card.folder
    found = list(root.rglob("*")) if os.path.isdir(root) else []  # unlike Path.is_dir, also for names that no folder can have
    paths = sorted(path for path in found if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"dataset {card.name!r}: there is no {' or '.join(SUFFIXES)} file below {root}")
    if other := [path.name for path in found if path.suffix.lower() in OTHER_SUFFIXES]:
        logger.warning("%s: ignoring %d pictures that are neither PNG nor JPEG, such as %s", root, len(other), min(other))
    first = read_picture(paths[0], card.background)
    pixels = np.empty((len(paths), *first.shape), np.uint8)
    for number, path in enumerate(paths):
        image = read_picture(path, card.background)
        if image.shape != first.shape:
            one, two = (f"{found} ({_kind(each)})" for found, each in ((path, image), (paths[0], first)))
            raise DataError(f"{one} differs from {two}; all pictures must have the same size, and be all grey or all in colour")
        pixels[number] = image
    classes = sorted({path.parent for path in paths})
    if len(classes) == 1:
        return _every_fifth(pixels, None, white=255)
    labels = np.array([classes.index(path.parent) for path in paths])
    order = np.random.default_rng(0).permutation(len(paths))  # so that both parts have images of every class
    names = tuple(path.relative_to(root).as_posix() for path in classes)
    return _every_fifth(pixels[order], labels[order], white=255, class_names=names)


def _kind(image: NDArray[np.uint8]) -> str:
    channels, height, width = image.shape
    return f"{height} x {width}, {'grey' if channels == 1 else 'in colour'}"


def _every_fifth(
    images: NDArray[Any], labels: NDArray[Any] | None, white: int, class_names: tuple[str, ...] | None = None
) -> Images:
    """Images [n, channels, height, width], of which every fifth is a test image."""
    if len(images) < 5:
        raise DataError(f"at least 5 images are needed, because every fifth is a test image; got {len(images)}")
    test = np.arange(len(images)) % 5 == 4
    pixels = _pixels(images, white)
    known, asked = (None, None) if labels is None else (labels[~test].astype(np.int64), labels[test].astype(np.int64))
    return Images(pixels[~test], known, pixels[test], asked, images.shape[1:], class_names)


def _pixels(images: NDArray[Any], white: int) -> NDArray[np.float32]:
    return (images.reshape(len(images), -1) / np.float32(white)).astype(np.float32)
