"""Pictures in PNG and JPEG files as arrays."""

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recsys_ae.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")
OTHER_SUFFIXES = (".gif", ".bmp", ".tif", ".tiff", ".webp", ".avif", ".heic")
GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I")
Background = Literal["white", "black"] | int


def read_picture(path: Path, background: Background = "white") -> NDArray[np.uint8]:
    """Pixels [1, height, width] of a grey picture, [3, height, width] of any other; upright, first frame of an animation.

    Transparent parts are filled with the `background`. 16 bits are scaled to 8.

    Raises:
        DataError: neither a whole PNG nor a whole JPEG file, or one of over 89 million pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if path.is_dir():
        raise DataError(f"{path} is a folder with the name of a picture; rename it")
    if not path.is_file():
        raise DataError(f"{path} cannot be read as an image: it is a broken link or not a regular file")
    if not path.stat().st_size:
        raise DataError(f"{path} cannot be read as an image: it is empty")
    try:
        content = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(content), formats=("PNG", "JPEG")) as image:
                if not _ends(content, image.format == "PNG"):  # Pillow accepts what lacks its last bytes
                    raise DataError(f"{path} cannot be read as an image: it is truncated")
                image.load()
                return _pixels(ImageOps.exif_transpose(image), _shade(background))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise DataError(f"{path} cannot be read as an image: it has over {limit:.0f} million pixels") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} cannot be read as an image: it is neither PNG nor JPEG") from None
    except (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, zlib.error, struct.error) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from None


def _ends(content: bytes, is_png: bool) -> bool:
    """Whether a picture has its end marker; that of a JPEG file must follow the last scan, not only a thumbnail."""
    return b"IEND\xae\x42\x60\x82" in content if is_png else content.rfind(b"\xff\xd9") > content.rfind(b"\xff\xda")


def _shade(background: Background) -> int:
    return background if isinstance(background, int) else {"white": 255, "black": 0}[background]


def _pixels(image: Any, shade: int) -> NDArray[np.uint8]:
    """The pixels of a loaded picture on a background."""
    grey = image.mode in GREY
    if grey and image.mode.startswith("I"):  # 16 bits, which Pillow would clip, not scale
        wide = np.asarray(image).astype(np.int64)
        opaque = ~np.isin(wide, image.info["transparency"]) if "transparency" in image.info else True
        return np.where(opaque, (wide + 128) // 257, shade).astype(np.uint8)[None]
    if image.has_transparency_data:
        layers = np.asarray(image.convert("LA" if grey else "RGBA")).astype(np.int64)
        alpha = layers[..., -1:]
        pixels = ((layers[..., :-1] * alpha + shade * (255 - alpha) + 127) // 255).astype(np.uint8)
    else:
        pixels = np.atleast_3d(np.asarray(image.convert("L" if grey else "RGB")))
    return pixels.transpose(2, 0, 1)
