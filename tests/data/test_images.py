import gzip
import logging
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from recsys_ae.data.cards import IdxCard, ImageFolderCard, read_card
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
        (idx(IMAGES, (2, 3, 2), PIXELS[:-1]), "holds 11 values, but its header announces 12"),
        (idx(IMAGES, (2, 3, 2), PIXELS + b"x"), "holds over 12 values"),
        (b"\0\0\x08\x03\0", "too short"),
        (b"", "starts with 0x, not"),
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


def idx_card(folder, white: int = 255, labels: bytes = b"\1\0") -> IdxCard:
    """Two images of 3 x 2 for training and the same for testing, with a card in the same folder."""
    (folder / "images").write_bytes(idx(IMAGES, (2, 3, 2), PIXELS))
    (folder / "labels").write_bytes(idx(LABELS, (len(labels),), labels))
    names = {f"{part}_{what}": what for part in ("train", "test") for what in ("images", "labels")}
    return IdxCard(name="own", kind="idx-images", white=white, **names)


@pytest.mark.parametrize("white", [255, 256])
def test_white_is_what_the_card_says(tmp_path, white):
    images = load_images(idx_card(tmp_path, white), tmp_path)
    assert images.shape == (1, 3, 2)
    assert images.train.dtype == np.float32
    np.testing.assert_array_equal(images.train, (np.arange(12).reshape(2, 6) / white).astype(np.float32))
    np.testing.assert_array_equal(images.test, images.train)
    assert images.train_labels.tolist() == [1, 0]
    assert images.train_labels.dtype == np.int64


def test_images_of_both_parts_have_one_shape(tmp_path):
    """Not only as many pixels."""
    card = idx_card(tmp_path)
    (tmp_path / "other").write_bytes(idx(IMAGES, (2, 2, 3), PIXELS))
    with pytest.raises(DataError, match=r"images of images are 3 x 2, those of other 2 x 3 \(height x width\)"):
        load_images(card.model_copy(update={"test_images": "other"}), tmp_path)


@pytest.mark.parametrize("pack", [lambda content: content, gzip.compress])
def test_a_header_that_announces_too_much(tmp_path, pack):
    path = tmp_path / ("x.gz" if pack is gzip.compress else "x")
    path.write_bytes(pack(idx(IMAGES, (2**32 - 1, 2**32 - 1, 2**32 - 1), PIXELS)))
    with pytest.raises(DataError, match=r"truncated: its header announces [0-9]+ values, more than the file can hold"):
        read_idx(path, IMAGES)


def test_no_more_is_unpacked_than_announced(tmp_path):
    """Of 100 MB in a small file."""
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx(IMAGES, (2, 3, 2), bytes(100_000_000))))
    tracemalloc.start()
    with pytest.raises(DataError, match="holds over 12 values, but its header announces 12"):
        read_idx(path, IMAGES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_damaged_gzip_is_named(tmp_path):
    path = tmp_path / "x.gz"
    whole = gzip.compress(idx(IMAGES, (2, 3, 2), PIXELS))
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            read_idx(path, IMAGES)
        except DataError as error:
            refused += str(path) in str(error)
    assert refused > len(whole) - 12  # the header of gzip has bytes without a meaning


def test_every_image_has_a_label(tmp_path):
    with pytest.raises(DataError, match="dataset 'own': 2 train images but 3 labels"):
        load_images(idx_card(tmp_path, labels=b"abc"), tmp_path)


CARD = ImageFolderCard(name="own", kind="image-folder", folder="pictures")


def pictures(n: int, *sides: int) -> np.ndarray:
    """Random uint8 [n, *sides]."""
    return np.random.default_rng(0).integers(0, 256, (n, *sides), np.uint8)


def put(folder, name: str, pixels: np.ndarray, **options: object) -> None:
    """The image as a file below pictures/, in the format of its suffix."""
    path = folder / "pictures" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def test_grey_files_in_the_order_of_their_names(tmp_path):
    grey = pictures(7, 3, 5)
    for number in (4, 0, 6, 2, 1, 5, 3):
        put(tmp_path, f"{number}.png", grey[number])
    (tmp_path / "pictures/notes.txt").write_text("no image")
    images = load_images(CARD, tmp_path)
    assert images.shape == (1, 3, 5)
    assert images.train.dtype == images.test.dtype == np.float32
    flat = (grey.reshape(7, 15) / np.float32(255)).astype(np.float32)
    np.testing.assert_array_equal(images.train, flat[[0, 1, 2, 3, 5, 6]])
    np.testing.assert_array_equal(images.test, flat[[4]])
    assert (images.train_labels, images.test_labels) == (None, None)


def test_colours_are_channels(tmp_path):
    colour = pictures(5, 3, 4, 3)
    for number, pixels in enumerate(colour):
        put(tmp_path, f"{number}.png", pixels)
    images = load_images(CARD, tmp_path)
    assert images.shape == (3, 3, 4)
    red, green, blue = images.test.reshape(3, 3, 4)
    for channel, found in enumerate((red, green, blue)):
        np.testing.assert_allclose(found, colour[4, :, :, channel] / 255, rtol=1e-6)


@pytest.mark.parametrize(("background", "shade"), [("white", 255), ("black", 0), (51, 51)])
def test_transparency_shows_the_background(tmp_path, background, shade):
    drawn = pictures(5, 3, 4, 4)
    for number, pixels in enumerate(drawn):
        put(tmp_path, f"{number}.png", pixels)
    images = load_images(CARD.model_copy(update={"background": background}), tmp_path)
    alpha = drawn[4, :, :, 3] / 255
    for channel in range(3):
        expected = (drawn[4, :, :, channel] * alpha + shade * (1 - alpha)) / 255
        np.testing.assert_allclose(images.test.reshape(3, 3, 4)[channel], expected, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("background", ["red", -1, 256, 0.5, [1, 2, 3]])
def test_backgrounds_are_shades_of_grey(background):
    with pytest.raises(ValidationError):
        ImageFolderCard(name="own", kind="image-folder", folder="pictures", background=background)


@pytest.mark.parametrize(("sides", "channels"), [((8, 16), 1), ((8, 16, 3), 3)])
@pytest.mark.parametrize("suffix", ["jpg", "JPEG"])
def test_jpeg_is_nearly_the_same(tmp_path, sides, channels, suffix):
    """Images of a single colour are nearly unchanged."""
    for number in range(5):
        put(tmp_path, f"{number}.{suffix}", np.full(sides, 40 * number, np.uint8), quality=95)
    images = load_images(CARD, tmp_path)
    assert images.shape == (channels, 8, 16)
    np.testing.assert_allclose(images.test, 160 / 255, atol=0.01)


def test_all_shades_of_16_bits_are_between_black_and_white(tmp_path):
    """Values above 255 are not all white."""
    for number in range(5):
        put(tmp_path, f"{number}.png", np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16))
    images = load_images(CARD, tmp_path)
    np.testing.assert_allclose(images.test[0], np.linspace(0, 1, 256), atol=0.01)


def test_folders_are_classes_and_mixed(tmp_path):
    shades = {"one/new": 0, "one/old": 100, "seven": 200}  # in the order of their paths
    for folder, n in (("seven", 4), ("one/old", 3), ("one/new", 3)):
        for number in range(n):
            put(tmp_path, f"{folder}/{number}.png", np.full((3, 5), shades[folder], np.uint8))
    images, again = load_images(CARD, tmp_path), load_images(CARD, tmp_path)
    assert images.class_names == tuple(shades)
    labels = np.concatenate([images.train_labels, images.test_labels])
    assert sorted(labels) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert labels.tolist() != sorted(labels)
    seen = np.round(np.concatenate([images.train, images.test])[:, 0] * 255)
    assert seen.tolist() == [100 * label for label in labels]
    np.testing.assert_array_equal(images.train, again.train)
    assert images.train_labels.dtype == images.test_labels.dtype == np.int64


def test_one_folder_is_no_class(tmp_path):
    for number in range(5):
        put(tmp_path, f"all/{number}.png", pictures(1, 3, 5)[0])
    assert load_images(CARD, tmp_path).train_labels is None


@pytest.mark.parametrize(
    ("other", "kind"), [(pictures(1, 5, 3)[0], "5 x 3, grey"), (pictures(1, 3, 5, 3)[0], "3 x 5, in colour")]
)
def test_unequal_images_are_refused(tmp_path, other, kind):
    for number, pixels in enumerate([*pictures(3, 3, 5), other]):
        put(tmp_path, f"{number}.png", pixels)
    with pytest.raises(DataError, match=rf"pictures/3.png \({kind}\) differs from .*pictures/0.png \(3 x 5, grey\)"):
        load_images(CARD, tmp_path)


def test_pictures_of_other_kinds_are_counted(tmp_path, caplog):
    for number, pixels in enumerate(pictures(6, 3, 5)):
        put(tmp_path, f"{number}.{'gif' if number == 5 else 'png'}", pixels)
    with caplog.at_level(logging.WARNING, "recsys_ae"):
        images = load_images(CARD, tmp_path)
    assert len(images.train) + len(images.test) == 5
    assert "ignoring 1 pictures that are neither PNG nor JPEG, such as 5.gif" in caplog.text


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_broken_file_is_named(tmp_path, suffix):
    for number, pixels in enumerate(pictures(5, 16, 16)):
        put(tmp_path, f"{number}.{suffix}", pixels)
    path = tmp_path / f"pictures/2.{suffix}"
    whole = path.read_bytes()
    for content in (b"", b"no image", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"pictures/2.{suffix} cannot be read as an image"):
            load_images(CARD, tmp_path)


def test_a_file_with_one_wrong_byte_is_named_or_read(tmp_path):
    """The image library's own errors are never raised."""
    for number, pixels in enumerate(pictures(5, 4, 4)):
        put(tmp_path, f"{number}.png", pixels)
    path = tmp_path / "pictures/2.png"
    whole, refused = path.read_bytes(), []
    for place in range(len(whole)):
        for value in (0, 255, whole[place] ^ 0x55):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                load_images(CARD, tmp_path)
            except DataError as error:
                refused.append(str(error))
    assert len(refused) > len(whole)
    assert all("pictures/2.png" in message for message in refused)


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "\ud800", ""])
def test_impossible_folder_names(tmp_path, name):
    with pytest.raises(DataError, match=r"dataset 'own': there is no .* file"):
        load_images(CARD.model_copy(update={"folder": name}), tmp_path)


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_images(tmp_path, made):
    if made:
        (tmp_path / "pictures").mkdir()
        (tmp_path / "pictures/notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"dataset 'own': there is no .png or .jpg or .jpeg file below .*pictures"):
        load_images(CARD, tmp_path)
