"""Finding the files of a card: $RECSYS_AE_DATA, then the cache, then a checked download."""

import hashlib
import logging
import os
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from filelock import FileLock

from recsys_ae.data.cards import FileCard, Source
from recsys_ae.data.reading import unpacked
from recsys_ae.errors import DataError

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where downloads are kept: $RECSYS_AE_CACHE, else `recsys-ae` in the user's cache folder."""
    if given := os.environ.get("RECSYS_AE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recsys-ae"


def locate(card: FileCard, paths: Sequence[str], folder: Path, *, download: bool = True) -> Path:
    """The first of `paths` that can be found, with its checksum verified.

    The files of a card with downloads are looked for in $RECSYS_AE_DATA and in the cache, then downloaded (unless `download`
    is false); those of a card without are looked for beside it, in `folder`, and in $RECSYS_AE_DATA.

    Raises:
        DataError: the file is nowhere, a download failed, or a checksum differs.
    """
    given = [Path(root)] if (root := os.environ.get("RECSYS_AE_DATA")) else []
    roots = [*given, cache_folder()] if card.sources else [folder / (card.folder or ""), *given]
    for place in roots:
        for path in paths:
            if (place / path).is_file():
                _verify(place / path, card.checksums.get(path))
                return place / path
    if card.sources and download:
        _download_all(card.sources)
        return locate(card, paths, folder, download=False)
    raise DataError(f"dataset {card.name!r}: no file {' or '.join(paths)} in {', '.join(map(str, roots))}")


def _download_all(sources: list[Source]) -> None:
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / ".lock"):  # two runs that need the same data download it once
        for source in sources:
            target = cache / (source.path or source.url.rsplit("/", 1)[-1])
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                download(source.url, target, source.md5)
            if source.unpack == "zip":
                extract_zip(target, cache)
                target.unlink()


def download(url: str, target: Path, md5: str | None) -> None:
    """Download `url` to `target`, which appears only when complete and verified.

    An earlier, interrupted download is resumed from `target`.part if the server supports it.

    Raises:
        DataError: the download failed or its checksum differs.
    """
    part = target.with_name(target.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    logger.info("downloading %s", url)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            resumed = have > 0 and answer.status == 206
            with part.open("ab" if resumed else "wb") as out:
                before = out.tell()
                shutil.copyfileobj(answer, out, 1 << 20)
                received = out.tell() - before
            announced = answer.headers.get("Content-Length")
            if announced is not None and received < int(announced):
                raise OSError(f"the connection ended after {received} of {announced} bytes")
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise DataError(f"download of {url} failed: {error.code} {error.reason}") from None
        logger.info("%s is already complete", part)  # or useless, which its checksum will show
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"download of {url} failed: {reason}; run again to continue, or set RECSYS_AE_DATA") from None
    try:
        _verify(part, md5)
    except DataError:
        part.unlink()
        raise
    os.replace(part, target)


def extract_zip(archive: Path, folder: Path) -> None:
    """Unpack a zip archive into `folder`; each top-level entry appears whole or not at all, and no file is overwritten.

    Raises:
        DataError: not a zip archive, or a member that is a link or would land outside `folder`.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        staging = Path(name).resolve()
        try:
            with zipfile.ZipFile(archive) as members:
                for member in members.infolist():
                    is_link = stat.S_ISLNK(member.external_attr >> 16)
                    if is_link or not (staging / member.filename).resolve().is_relative_to(staging):
                        raise DataError(f"{archive} holds {member.filename!r}, which would leave its folder; not unpacked")
                members.extractall(staging)
        except zipfile.BadZipFile as error:
            raise DataError(f"{archive} is not a complete zip archive: {error}") from None
        for entry in sorted(staging.iterdir()):
            if not (folder / entry.name).exists():
                os.replace(entry, folder / entry.name)
                continue
            for file in (path for path in entry.rglob("*") if path.is_file()):  # restore files that were deleted
                target = folder / file.relative_to(staging)
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(file, target)


def _verify(path: Path, md5: str | None) -> None:
    """Compare the MD5 of the content; of a compressed file that of what it unpacks to: compression is not reproducible."""
    if md5 is None:
        return
    with unpacked(path) as content:
        found = hashlib.file_digest(content, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    if found != md5:
        raise DataError(f"checksum of {path} is {found}, its card says {md5}; delete the file to fetch it again")
