"""Safe unpacking of zip archives: within limits, and completely or not at all."""

import lzma
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path

from recsys_ae.data.places import check_within, inside
from recsys_ae.errors import DataError, quoted, reason

MAX_MEMBERS = 100_000
MAX_RATIO, SMALL = 200, 50e6  # largest ratio of unpacked to packed size, for archives that unpack to more than SMALL bytes
BY_HAND = "if you trust it, unpack it yourself and set RECSYS_AE_DATA to the folder"

# OSError: a file where another member needs a folder, a full disk, damaged bzip2
UNPACKING = (NotImplementedError, RuntimeError, zlib.error, lzma.LZMAError, EOFError, ValueError, OSError)


def extract_zip(archive: Path, folder: Path, max_gb: float = 4) -> None:
    """Unpack a zip archive into `folder`; each top-level entry appears whole or not at all, and no file is overwritten.

    Raises:
        DataError: not a zip archive; a member that is a link, is encrypted, occurs twice or would land outside `folder`; over
            100,000 members, over `max_gb` gigabytes unpacked or over 200 times its size, or not enough disk space.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        staging = Path(name)
        try:
            with zipfile.ZipFile(archive) as members:
                _check(archive, members.infolist(), folder, max_gb)
                members.extractall(staging)
        except zipfile.BadZipFile as error:
            raise DataError(f"{archive} is not a complete zip archive: {error}") from None
        except UNPACKING as error:
            raise DataError(f"{archive} cannot be unpacked: {reason(error)}") from None
        for entry in sorted(staging.iterdir()):
            check_within(folder, folder / entry.name)
            if not (folder / entry.name).exists():
                os.replace(entry, folder / entry.name)
                continue
            for file in (path for path in entry.rglob("*") if path.is_file()):  # restore files that were deleted
                target = folder / file.relative_to(staging)
                check_within(folder, target)
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(file, target)


def _check(archive: Path, members: list[zipfile.ZipInfo], folder: Path, max_gb: float) -> None:
    """Refuse an archive by its table of contents; `zipfile` never unpacks more than that announces."""
    if len(members) > MAX_MEMBERS:
        raise DataError(f"{archive} holds {len(members)} files, over the limit of {MAX_MEMBERS}; {BY_HAND}")
    seen: set[str] = set()
    for member in members:
        name = member.filename.removesuffix("/")
        try:
            inside(name)
        except ValueError:
            outside = f"{archive} holds {quoted(member.filename)}, which points outside the target folder"
            raise DataError(f"{outside}; nothing was unpacked") from None
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError(f"{archive} holds {quoted(name)}, which is a link or device; nothing was unpacked")
        if member.flag_bits & 0x1:
            raise DataError(f"{archive} holds {quoted(name)}, which is encrypted; {BY_HAND}")
        if name in seen:
            raise DataError(f"{archive} holds {quoted(name)} twice; nothing was unpacked")
        seen.add(name)
    total, packed = sum(member.file_size for member in members), archive.stat().st_size
    size = f"{archive} unpacks to {total / 1e9:.1f} GB"
    if total > max_gb * 1e9:
        raise DataError(f"{size}, over the limit of {max_gb:g} GB; raise `max_gb` of its source")
    if total > max(SMALL, MAX_RATIO * packed):
        raise DataError(f"{archive} unpacks to {total // packed} times its size, over the limit of {MAX_RATIO}; {BY_HAND}")
    if total > (free := shutil.disk_usage(folder).free):
        raise DataError(f"{size}, but {folder} has only {free / 1e9:.1f} GB free; make room")
