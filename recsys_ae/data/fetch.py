"""Finding the files of a card: $RECSYS_AE_DATA, then the cache, then a checked download."""

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from recsys_ae.data.archives import extract_zip
from recsys_ae.data.cards import FileCard, RatingsCard
from recsys_ae.data.detection import fits
from recsys_ae.data.download import download
from recsys_ae.data.id_tables import titles_like
from recsys_ae.data.layouts import Table, TitleFile
from recsys_ae.data.places import check_within
from recsys_ae.data.reading import unpacked
from recsys_ae.errors import DataError, quoted, reason, similar_path
from recsys_ae.files import locked
from recsys_ae.folders import cache_folder, cache_folders

WAIT = 600.0  # seconds for another process that downloads


def locate(card: FileCard, paths: Sequence[str], folder: Path, *, download: bool = True) -> Path:
    """The first of `paths` that exists, with its checksum verified.

    The files of a card with downloads are looked for in $RECSYS_AE_DATA and in the cache, then downloaded (unless `download`
    is false); those of a card without are looked for beside it, in `folder`, and in $RECSYS_AE_DATA.

    Raises:
        DataError: the file is nowhere, a download failed, or a checksum differs.
    """
    return _located(card, paths, folder, download=download)[0]


def _located(card: FileCard, paths: Sequence[str], folder: Path, *, download: bool) -> tuple[Path, str]:
    """See `locate`; also which of the `paths` it is."""
    given = [Path(root)] if (root := os.environ.get("RECSYS_AE_DATA")) else []
    roots = [*given, *cache_folders()] if card.sources else [folder / (card.folder or ""), *given]
    for place in roots:
        for path in paths:
            if os.path.isfile(place / path):  # unlike Path.is_file, also for names that no file can have
                remedy = "delete the file to fetch it again" if card.sources else "restore the file or correct the card"
                _verify(place / path, card.checksums.get(path), remedy)
                return place / path, path
    if card.sources and download:
        _download_all(card)
        return _located(card, paths, folder, download=False)
    where = ", ".join(map(str, roots))
    similar = [] if card.sources else [hint for place in roots for path in paths if (hint := similar_path(place / path))]
    hint = similar[0] if similar else "; set RECSYS_AE_DATA to its folder"
    raise DataError(f"dataset {card.name!r}: no file {' or '.join(paths)} in {where}{hint}")


def locate_table(card: FileCard, tables: Sequence[Table], folder: Path) -> tuple[Path, Table]:
    """The first of the files with these layouts that exists, and its layout; see `locate`."""
    path, declared = _located(card, [table.path for table in tables], folder, download=True)
    return path, next(table for table in tables if table.path == declared)


def locate_titles(
    card: Any, folder: Path, given: Path | None = None, *, download: bool = True
) -> tuple[Path, TitleFile | None] | None:
    """The file of titles and its layout: the file `given`, else the one that the card declares; None if there is neither.

    A given file that has the declared columns has the declared layout. For any other, and for one that names its columns where
    the declared ones have numbers, the layout is None, and columns are recognised by their names. Errors as for `locate`.
    """
    layout = card.titles if isinstance(card, RatingsCard) else None
    if given is not None:
        return given, layout if layout is not None and _fits(layout, given) else None
    return None if layout is None else (locate(card, [layout.path], folder, download=download), layout)


def _fits(layout: TitleFile, path: Path) -> bool:
    """Whether a file has the columns of a layout; any file has those with numbers, unless its first line names them."""
    if not fits(path, layout):
        return False
    try:
        titles_like(path)
    except DataError:
        return True
    return layout.named()


def _download_all(card: FileCard) -> None:
    cache = cache_folder()
    if cache is None:
        tried = " or ".join(map(str, cache_folders()))
        raise DataError(f"dataset {card.name!r}: cannot write downloads to {tried}; set RECSYS_AE_CACHE to a writable folder")
    with locked(cache / ".lock", "another process is downloading data; wait for it", WAIT):  # two runs need it once
        for source in card.sources:
            target = cache / source.name
            check_within(cache, target)
            if not target.exists():
                download(source.url, target, source.md5, source.max_gb)
            if source.unpack == "zip":
                extract_zip(target, cache, source.max_gb)
                target.unlink()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make {folder}: {reason(error)}") from None


def _verify(path: Path, md5: str | None, remedy: str) -> None:
    """Check the MD5 of a file, or of its unpacked content if it is compressed: compression is not reproducible."""
    if md5 is None:
        return
    with unpacked(path) as content:
        found = hashlib.file_digest(content, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    if found != md5:
        raise DataError(f"the MD5 checksum of {path} is {found}, but its card says {quoted(md5)[1:-1]}; {remedy}")
