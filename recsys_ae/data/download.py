"""Downloads over HTTP with limits on size and time."""

import hashlib
import http.client
import logging
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic
from typing import IO, Any

from recsys_ae.data.places import web_address
from recsys_ae.errors import DataError, reason

TIMEOUT = 60  # seconds for a connection, and for the next bytes
SLOWEST, PATIENCE = 1000, 60  # bytes a second on average, over each of these periods in seconds

logger = logging.getLogger(__name__)


def download(url: str, target: Path, md5: str | None, max_gb: float = 4) -> None:
    """Download `url` to `target`, which appears only when it is complete and verified.

    An interrupted download is continued from `target`.part if there is a checksum and the server supports ranges.

    Raises:
        DataError: the download failed, is slower than 1 kB a second for a minute or larger than `max_gb` gigabytes, does not
            fit on the disk, or its checksum differs.
    """
    part = target.with_name(target.name + ".part")
    have = part.stat().st_size if md5 and part.exists() else 0
    logger.info("downloading %s", url)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        request = urllib.request.Request(web_address(url), headers={"Range": f"bytes={have}-"} if have else {})
        with _opener().open(request, timeout=TIMEOUT) as answer:
            resumed = have > 0 and answer.status == 206 and _starts_at(answer, have)
            if have and answer.status == 206 and not resumed:
                part.unlink()
                raise OSError("the server sent another range of bytes than requested")
            with part.open("ab" if resumed else "wb") as out:
                _copy(answer, out, int(max_gb * 1e9))
    except DataError as error:
        part.unlink(missing_ok=True)
        raise DataError(f"download of {url} was stopped: {error}") from None
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not have:
            raise DataError(f"download of {url} failed: {error.code} {reason(error.reason)}") from None
        logger.info("%s is already complete", part)  # or useless, which its checksum will show
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = reason(getattr(error, "reason", None) or error)
        raise DataError(f"download of {url} failed: {why}; run again to continue, or set RECSYS_AE_DATA") from None
    if md5 is not None and (found := _md5(part)) != md5:
        part.unlink()
        raise DataError(f"the MD5 checksum of {url} is {found}, but its card says {md5}; the download was deleted")
    os.replace(part, target)


def _copy(answer: Any, out: IO[bytes], limit: int) -> None:
    """Append the body of a response to a file; `DataError` if it is over the limit or does not fit on the disk."""
    before = out.tell()
    announced = answer.headers.get("Content-Length")
    expected = int(announced) if announced is not None else 0
    too_large = f"it is over the limit of {limit / 1e9:g} GB; raise `max_gb` of its source"
    if before + expected > limit:
        raise DataError(f"at {(before + expected) / 1e9:.1f} GB, {too_large}")
    if expected > (free := shutil.disk_usage(Path(out.name).parent).free):
        raise DataError(f"it has {expected / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free for {out.name}")
    since, then = monotonic(), before
    while block := answer.read1(1 << 20):
        out.write(block)
        if out.tell() > limit:
            raise DataError(too_large)
        if (elapsed := monotonic() - since) > PATIENCE:
            if out.tell() - then < SLOWEST * elapsed:
                raise OSError(f"only {out.tell() - then} bytes arrived in {elapsed:.0f} seconds")
            since, then = monotonic(), out.tell()
    received = out.tell() - before
    if announced is not None and received < expected:
        raise OSError(f"the connection ended after {received} of {expected} bytes")


def _starts_at(answer: Any, have: int) -> bool:
    """Whether a partial response starts at byte `have`, or does not say."""
    told = answer.headers.get("Content-Range")
    return told is None or told.removeprefix("bytes").strip().startswith(f"{have}-")


def _opener() -> urllib.request.OpenerDirector:
    """An opener for HTTP and HTTPS only: no files, no FTP, and no redirection to them."""
    opener = urllib.request.OpenerDirector()
    web = (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler, urllib.request.UnknownHandler)
    for kind in (*web, urllib.request.HTTPDefaultErrorHandler, _Redirects, urllib.request.HTTPErrorProcessor):
        opener.add_handler(kind())
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirections, except from HTTPS to anything else."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https:" if req.type == "https" else ("https:", "http:")):
            fp.close()
            raise OSError(f"it redirects to {newurl}; only http and https are followed, and https never to http")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
