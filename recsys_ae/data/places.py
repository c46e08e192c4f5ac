"""Checks of paths and URLs in cards: downloads come from the web and stay in the cache."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from recsys_ae.errors import DataError, quoted


def inside(path: str) -> str:
    """`path`, if it is relative and stays below its folder on any system; `ValueError` otherwise."""
    parts = path.split("/")
    plain = not any(part in ("", ".", "..") or len(part.encode(errors="replace")) > 255 for part in parts)
    if not plain or path.startswith("~") or "\\" in path or re.match("[A-Za-z]:", path) or not path.isprintable():
        raise ValueError(f"{quoted(path)} must be a relative path below the data folder, with '/' and without '..'")
    return path


def web_address(url: str) -> str:
    """`url`, if it is an HTTP or HTTPS URL; `ValueError` otherwise."""
    try:
        parsed = urlsplit(url)
        good = parsed.scheme in ("http", "https") and bool(parsed.hostname) and (parsed.port or 1) > 0
    except ValueError:  # a port that is no number, half of an IPv6 address
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{quoted(url)} is not a URL that begins with http:// or https://")
    return url


def file_name(url: str) -> str:
    """The file name at the end of a URL; `ValueError` if there is none."""
    name = urlsplit(url).path.rsplit("/", 1)[-1]
    try:
        return inside(name)
    except ValueError:
        raise ValueError(f"{quoted(url)} does not end in a file name; give the source a `path`") from None


def check_within(folder: Path, path: Path) -> None:
    """`DataError` if `path`, which is below `folder`, leads elsewhere through a link."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{path} leads outside of {folder} through a link; remove the link")
