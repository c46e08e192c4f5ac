import gzip
import struct

import numpy as np
import pytest

from recsys_ae.data.cards import read_card
from recsys_ae.data.images import IMAGES, LABELS, load_images, read_idx
from recsys_ae.errors import DataError

PIXELS = bytes(range(2 * 3 * 2))


def idx(magic: int, shape: tuple[int, ...], content: bytes) -> bytes:
    return struct.pack(f">{1 + len(shape)}I", magic, *shape) + content


@pytest.mark.parametrize("pack", [lambda content: content, gzip.compress])
def test_idx_plain_and_gzipped(tmp_path, pack):
    path = tmp_path / ("x.gz" if pack is gzip.compress else "x")
    path.write_bytes(pack(idx(IMAGES, (2, 3, 2), PIXELS)))
    np.testing.assert_array_equal(read_idx(path, IMAGES), np.arange(12).reshape(2, 3, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(LABELS, (2,), b"ab"), "starts with 0x00000801"),
        (idx(IMAGES, (2, 3, 2), PIXELS[:-1]), "holds 11 values, its header says 12"),
        (idx(IMAGES, (2, 3, 2), PIXELS + b"x"), "holds 13 values"),
        (b"\0\0\x08\x03\0", "too short"),
        (b"", "starts with 0x,"),
    ],
)
def test_damaged_idx(tmp_path, content, message):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path, IMAGES)


def test_truncated_gzip(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx(IMAGES, (2, 3, 2), PIXELS))[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(path, IMAGES)


def test_embedded_digits():
    images = load_images(*read_card("digits"))
    assert images.train.shape == (1438, 64)
    assert len(images.test) + len(images.train) == 1797
    assert images.train.min() == 0
    assert images.train.max() == 1
    assert set(images.test_labels) == set(range(10))


@pytest.mark.data("mnist")
def test_mnist_as_published():
    images = load_images(*read_card("mnist"))
    assert images.train.shape == (60_000, 784)
    assert images.test.shape == (10_000, 784)
    assert abs(images.train.mean() - 0.13066) < 1e-5
    assert np.bincount(images.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
