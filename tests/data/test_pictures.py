"""Single pictures of every kind that PNG and JPEG know."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from recsys_ae.data.pictures import read_picture
from recsys_ae.errors import DataError

COLOURS = np.array([[[10, 20, 30], [200, 100, 0]], [[255, 255, 255], [0, 0, 0]]], np.uint8)


def saved(path, image: Image.Image, **options: object):
    image.save(path, **options)
    return path


def png(path, width: int, height: int, depth: int, kind: int, rows: bytes):
    """A PNG file of raw rows, each after its filter."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def test_palettes(tmp_path):
    image = Image.fromarray(COLOURS).quantize(4)
    drawn = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(read_picture(saved(tmp_path / "a.png", image)), drawn)
    clear = int(np.asarray(image)[0, 1])
    found = read_picture(saved(tmp_path / "b.png", image, transparency=clear), background="black")
    np.testing.assert_array_equal(found[:, 0, 1], [0, 0, 0])
    np.testing.assert_array_equal(found[:, 1, 0], drawn[:, 1, 0])


@pytest.mark.parametrize(("background", "shades"), [("white", [255, 155, 10]), ("black", [0, 28, 10]), (100, [100, 78, 10])])
def test_grey_with_transparency(tmp_path, background, shades):
    pixels = np.array([[[7, 0], [57, 128], [10, 255]]], np.uint8)
    found = read_picture(saved(tmp_path / "a.png", Image.fromarray(pixels)), background)
    assert found.shape == (1, 1, 3)
    np.testing.assert_allclose(found[0, 0], shades, atol=1)


def test_a_transparent_colour(tmp_path):
    found = read_picture(saved(tmp_path / "a.png", Image.fromarray(COLOURS), transparency=(200, 100, 0)))
    assert found[:, 0, 1].tolist() == [255, 255, 255]
    assert found[:, 0, 0].tolist() == [10, 20, 30]


def test_16_bits(tmp_path):
    values = np.array([[0, 255, 257, 32768, 65407, 65535]], np.uint16)
    assert read_picture(saved(tmp_path / "a.png", Image.fromarray(values))).tolist() == [[[0, 1, 1, 128, 255, 255]]]
    clear = read_picture(saved(tmp_path / "b.png", Image.fromarray(values), transparency=257), background="white")
    assert clear.tolist() == [[[0, 1, 255, 128, 255, 255]]]
    colour = png(tmp_path / "c.png", 2, 1, 16, 2, b"\0" + struct.pack(">6H", 0, 65535, 32768, 0, 32896, 65280))
    np.testing.assert_allclose(read_picture(colour)[:, 0], [[0, 0], [255, 128], [128, 255]], atol=1)


def test_1_and_2_bits(tmp_path):
    assert read_picture(saved(tmp_path / "a.png", Image.fromarray(np.array([[True, False]])))).tolist() == [[[255, 0]]]
    assert read_picture(png(tmp_path / "b.png", 4, 1, 2, 0, b"\0\x1b")).tolist() == [[[0, 85, 170, 255]]]


def test_four_inks(tmp_path):
    red = Image.fromarray(np.full((16, 16, 3), [250, 5, 5], np.uint8)).convert("CMYK")
    found = read_picture(saved(tmp_path / "a.jpg", red, quality=95))
    np.testing.assert_allclose(found.mean(axis=(1, 2)), [250, 5, 5], atol=6)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_pictures_are_turned_upright(tmp_path, suffix):
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the right side of the scene is at the bottom of the file's pixels
    found = read_picture(saved(tmp_path / f"a.{suffix}", Image.fromarray(pixels), exif=exif))
    assert found.shape == (1, 16, 8)
    assert found[0, 0].max() < 10
    assert found[0, 15].min() > 245


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(np.full((3, 2, 3), shade, np.uint8)) for shade in (10, 200)]
    path = saved(tmp_path / "a.png", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_picture(path), np.full((3, 3, 2), 10))


def test_an_ending_may_be_that_of_the_other_format(tmp_path):
    assert read_picture(saved(tmp_path / "a.jpg", Image.fromarray(COLOURS), format="PNG")).shape == (3, 2, 2)
    assert read_picture(saved(tmp_path / "a.png", Image.fromarray(COLOURS), format="JPEG")).shape == (3, 2, 2)


@pytest.mark.parametrize("other", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_refused_whatever_their_ending(tmp_path, other):
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image: it is neither PNG nor JPEG"):
        read_picture(saved(tmp_path / "a.png", Image.fromarray(COLOURS), format=other))


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (12_000, 10_000)])
def test_bombs(tmp_path, width, height):
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image: it has over 89 million pixels"):
        read_picture(png(tmp_path / "a.png", width, height, 8, 0, b"\0"))


def test_an_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image: it is empty"):
        read_picture(tmp_path / "a.png")


def test_paths_that_are_not_files(tmp_path):
    """A pipe would be waited for without end."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(DataError, match=rf"{path.name} cannot be read as an image: it is a broken link"):
            read_picture(path)
