"""Images as pixels between 0 and 1: IDX files like those of MNIST, folders of files, the digits that scikit-learn ships."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_ae.data.cards import DigitsCard, IdxCard, ImageFolderCard
from recsys_ae.data.fetch import locate
from recsys_ae.data.reading import unpacked
from recsys_ae.errors import DataError

IMAGES, LABELS = 0x0803, 0x0801  # unsigned bytes in three dimensions, in one
SUFFIXES = (".png", ".jpg", ".jpeg")


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
    for part in ("train", "test"):
        images = read_idx(locate(card, [getattr(card, f"{part}_images")], folder), IMAGES)
        labels = read_idx(locate(card, [getattr(card, f"{part}_labels")], folder), LABELS)
        if len(images) != len(labels):
            raise DataError(f"dataset {card.name!r}: {len(images)} {part} images but {len(labels)} labels")
        loaded |= {part: _pixels(images, card.white), f"{part}_labels": labels.astype(np.int64)}
        loaded.setdefault("shape", (1, *images.shape[1:]))
    return Images(**loaded)


def read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """The array in an IDX file, plain or gzipped, which must start with `magic` and be exactly as long as its header says."""
    with unpacked(path) as file:
        content = file.read()
    header = 4 * (1 + (magic & 0xFF))  # the magic number and each dimension take four bytes
    if content[:4] != struct.pack(">I", magic):
        raise DataError(f"{path} starts with 0x{content[:4].hex()}, an IDX file of this kind with {magic:#010x}")
    if len(content) < header:
        raise DataError(f"{path} is too short for an IDX file: {len(content)} bytes")
    _, *shape = struct.unpack(f">{header // 4}I", content[:header])
    expected = int(np.prod(shape, dtype=object))
    if len(content) - header != expected:
        raise DataError(f"{path} holds {len(content) - header} values, its header says {expected}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _from_folder(card: ImageFolderCard, folder: Path) -> Images:
    """PNG and JPEG files in the order of their paths; if they lie in several folders, shuffled, with a class per folder."""
    root = folder / card.folder
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"dataset {card.name!r}: no file {' or '.join(SUFFIXES)} below {root}")
    first = _read_image(paths[0])
    pixels = np.empty((len(paths), *first.shape), np.uint8)
    for number, path in enumerate(paths):
        image = _read_image(path)
        if image.shape != first.shape:
            sizes = " and ".join("x".join(map(str, each.shape)) for each in (image, first))
            raise DataError(f"{path} and {paths[0]} have different sizes or colours (channels x height x width: {sizes})")
        pixels[number] = image
    classes = sorted({path.parent for path in paths})
    if len(classes) == 1:
        return _every_fifth(pixels, None, white=255)
    labels = np.array([classes.index(path.parent) for path in paths])
    order = np.random.default_rng(0).permutation(len(paths))  # so that both parts have images of every class
    names = tuple(path.relative_to(root).as_posix() for path in classes)
    return _every_fifth(pixels[order], labels[order], white=255, class_names=names)


def _read_image(path: Path) -> NDArray[np.uint8]:
    """[1, height, width] if it is grey, else [3, height, width]."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L", "LA", "I;16")
            if image.mode == "I;16":  # which Pillow would clip, not scale
                pixels = (np.asarray(image) // 257).astype(np.uint8)
            else:
                pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except (OSError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from None
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _every_fifth(
    images: NDArray[Any], labels: NDArray[Any] | None, white: int, class_names: tuple[str, ...] | None = None
) -> Images:
    """Images [n, channels, height, width], of which every fifth is a test image."""
    if len(images) < 5:
        raise DataError(f"every fifth image is a test image, and there are only {len(images)}")
    test = np.arange(len(images)) % 5 == 4
    pixels = _pixels(images, white)
    known, asked = (None, None) if labels is None else (labels[~test].astype(np.int64), labels[test].astype(np.int64))
    return Images(pixels[~test], known, pixels[test], asked, images.shape[1:], class_names)


def _pixels(images: NDArray[Any], white: int) -> NDArray[np.float32]:
    return (images.reshape(len(images), -1) / np.float32(white)).astype(np.float32)
