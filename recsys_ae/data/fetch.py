"""Finding the files of a card: $RECSYS_AE_DATA, then the cache, then a checked download."""

import gzip
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

from recsys_ae.data.cards import IdxCard, RatingsCard, Source
from recsys_ae.data.locations import cache_folder, data_folder
from recsys_ae.errors import DataError

BLOCK = 1 << 20

logger = logging.getLogger(__name__)


def locate(card: RatingsCard | IdxCard, paths: Iterable[str], folder: Path, *, download: bool = True) -> Path:
    """The first of `paths` that can be had, with its checksum verified.

    A card with downloads is looked up in $RECSYS_AE_DATA, then in the cache, then downloaded; a card without any is
    looked up beside itself (`folder`) and in $RECSYS_AE_DATA. Without `download`, nothing is fetched.

    Raises:
        DataError: the file is nowhere, a download failed, or a checksum differs.
    """
    wanted = list(paths)
    given = [] if data_folder() is None else [data_folder()]
    beside = folder / (getattr(card, "folder", None) or "")
    roots = [*given, cache_folder()] if card.sources else [beside, *given]
    found = _first_existing(wanted, roots)
    if found is None and card.sources and download:
        _download_all(card.sources)
        found = _first_existing(wanted, [cache_folder()])
    if found is None:
        places = ", ".join(str(root) for root in roots)
        raise DataError(f"dataset {card.name!r}: no file {' or '.join(wanted)} in {places}")
    path, name = found
    if expected := card.checksums.get(name):
        _verify(path, expected)
    return path


def _first_existing(paths: list[str], roots: Iterable[Path | None]) -> tuple[Path, str] | None:
    for root in roots:
        for path in paths:
            if root is not None and (root / path).is_file():
                return root / path, path
    return None


def _download_all(sources: list[Source]) -> None:
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / ".lock"):  # two runs that need the same data download it once
        for source in sources:
            name = source.path or source.url.rsplit("/", 1)[-1]
            target = cache / name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                download(source.url, target, source.md5)
            if source.unpack == "zip":
                extract_zip(target, cache)
                target.unlink()


def download(url: str, target: Path, md5: str | None) -> None:
    """Download `url` to `target`, which appears only when complete and verified.

    What an earlier, interrupted attempt left in `target`.part is continued, if the server can do that.

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
                shutil.copyfileobj(answer, out, BLOCK)
                received = out.tell() - before
            announced = answer.headers.get("Content-Length")
            if announced is not None and received < int(announced):
                raise OSError(f"the connection ended after {received} of {announced} bytes")
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing beyond what is there: the earlier attempt was complete, or is useless
            logger.info("%s is already complete", part)
        else:
            raise DataError(f"download of {url} failed: {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"download of {url} failed: {reason}; run again to continue, or set RECSYS_AE_DATA") from None
    if md5 is not None:
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
    with tempfile.TemporaryDirectory(dir=folder) as staging:
        try:
            with zipfile.ZipFile(archive) as members:
                for member in members.infolist():
                    target = Path(staging, member.filename).resolve()
                    is_link = stat.S_ISLNK(member.external_attr >> 16)
                    if is_link or not target.is_relative_to(Path(staging).resolve()):
                        raise DataError(f"{archive} holds {member.filename!r}, which would leave its folder; not unpacked")
                members.extractall(staging)
        except zipfile.BadZipFile as error:
            raise DataError(f"{archive} is not a complete zip archive: {error}") from None
        for entry in sorted(Path(staging).iterdir()):
            if not (folder / entry.name).exists():
                os.replace(entry, folder / entry.name)
                continue
            for file in (path for path in entry.rglob("*") if path.is_file()):  # bring back what was deleted
                target = folder / file.relative_to(staging)
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(file, target)


def _verify(path: Path, expected: str) -> None:
    """MD5 of the content, which for .gz files is what they unpack to (compression is not reproducible)."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as content:
            while block := content.read(BLOCK):
                digest.update(block)
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if digest.hexdigest() != expected:
        raise DataError(
            f"checksum of {path} is {digest.hexdigest()}, its card says {expected}; delete the file to fetch it again"
        )
