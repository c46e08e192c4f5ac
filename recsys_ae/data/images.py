"""Images as pixels between 0 and 1: IDX files like those of MNIST, folders of files, the digits that scikit-learn ships."""

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_ae.data.cards import DigitsCard, IdxCard, ImageFolderCard
from recsys_ae.data.fetch import locate
from recsys_ae.errors import DataError

IMAGES, LABELS = 0x0803, 0x0801  # unsigned bytes in three dimensions, in one
SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Images:
    """Flattened images and their classes.

    Attributes:
        train, test: float32 [n, channels * height * width] between 0 and 1.
        train_labels, test_labels: int64 [n]; None where classes are not known.
        shape: channels, height, width.
        class_names: of the classes 0, 1, ..., where they are not just numbers.
    """

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64] | None
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64] | None
    shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None = None


def load_images(card: IdxCard | DigitsCard | ImageFolderCard, folder: Path) -> Images:
    """The images of a card. Where it names no test images, every fifth one is a test image.

    Raises:
        DataError: missing, altered, truncated, mismatched or unequal files.
    """
    if isinstance(card, DigitsCard):
        return _digits()
    if isinstance(card, ImageFolderCard):
        return _from_folder(card, folder)
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
        _pixels(arrays["train_images"], card.white),
        arrays["train_labels"].astype(np.int64),
        _pixels(arrays["test_images"], card.white),
        arrays["test_labels"].astype(np.int64),
        (1, height, width),
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
    return _every_fifth(pixels, labels, (1, 8, 8))


def _from_folder(card: ImageFolderCard, folder: Path) -> Images:
    """PNG and JPEG files in the order of their paths; or mixed, if they lie in several folders, which then are classes."""
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
        return _every_fifth(_pixels(pixels, 255), None, first.shape)
    labels = np.array([classes.index(path.parent) for path in paths], np.int64)
    order = np.random.default_rng(0).permutation(len(paths))  # so that every part has images of every class
    names = tuple(path.relative_to(root).as_posix() for path in classes)
    return _every_fifth(_pixels(pixels[order], 255), labels[order], first.shape, names)


def _read_image(path: Path) -> NDArray[np.uint8]:
    """[1, height, width] if it is grey, else [3, height, width]."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L", "LA", "I;16")
            if image.mode == "I;16":  # which Pillow would clip, not scale
                pixels = (np.asarray(image) // 257).astype(np.uint8)
            else:
                pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from None
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _every_fifth(
    pixels: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    shape: tuple[int, int, int],
    class_names: tuple[str, ...] | None = None,
) -> Images:
    if len(pixels) < 5:
        raise DataError(f"every fifth image is a test image, and there are only {len(pixels)}")
    test = np.arange(len(pixels)) % 5 == 4
    parts = (None, None) if labels is None else (labels[~test], labels[test])
    return Images(pixels[~test], parts[0], pixels[test], parts[1], shape, class_names)


def _pixels(images: NDArray[Any], white: int) -> NDArray[np.float32]:
    return (images.reshape(len(images), -1) / np.float32(white)).astype(np.float32)
