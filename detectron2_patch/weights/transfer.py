"""One file over HTTP, taken up where it broke off, as RFC 9110 (sections 13 and 14) has it.

Beside the partial file lies a note of what it is a part of: the server's validator (ETag or
date) and the whole size. Only a server that still has the same file may send the rest.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

from detectron2_patch.utils.progress import progress

logger = logging.getLogger(__name__)
TRIES = 4  # in a row without a new byte
TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 18
USER_AGENT = "detectron2-patch"
BUSY = (408, 425, 429, 500, 502, 503, 504)  # what another try may cure
OUT_OF_RANGE = 416


class TransferError(Exception):
    """The server's answer can't be the file, and asking again would not help."""


# TimeoutError and ConnectionError come from reading, URLError from connecting.
NETWORK_ERRORS = (
    TransferError,
    urllib.error.URLError,
    http.client.HTTPException,
    ssl.SSLError,
    ConnectionError,
    TimeoutError,
)


def transfer(address: str, partial: Path) -> None:
    """Complete ``partial``, which may hold the beginning, with the file of ``address``.

    Raises:
        NETWORK_ERRORS: it can't be had; what came stays for the next time.
        OSError: ``partial`` can't be written.
    """
    failures = 0
    while True:
        before = _size(partial)
        try:
            _receive(address, partial)
            break
        except NETWORK_ERRORS as error:
            failures = 1 if _size(partial) > before else failures + 1
            if failures == TRIES or not _may_pass(error, partial):
                raise
            logger.warning("%s: %s; trying again", address, explain(error))
            time.sleep(2 ** (failures - 1))
    _note(partial).unlink(missing_ok=True)


def explain(error: Exception) -> str:
    """A network error in words, on one line."""
    reason = getattr(error, "reason", None)
    if isinstance(error, urllib.error.HTTPError):
        reason = f"the server says {error.code} {error.reason}"
    elif isinstance(reason, OSError):
        reason = reason.strerror or reason
    return " ".join(str(reason or error).split()) or type(error).__name__


def _may_pass(error: Exception, partial: Path) -> bool:
    """Whether another try may succeed."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in BUSY
    if isinstance(error, urllib.error.URLError):  # no way to the server, perhaps no network
        return partial.exists()
    return not isinstance(error, TransferError)


def _receive(address: str, partial: Path) -> None:
    """Ask for what ``partial`` lacks and append it, or begin anew where that can't be had.

    Raises:
        ConnectionError: the connection closed before all had come.
    """
    have, size, validator = _resume_point(partial)
    if have and have == size:  # killed before it got its name
        return
    response = _open(address, have, validator)
    with response:
        if response.status != http.client.PARTIAL_CONTENT:  # the server sends all of it
            have = 0
        elif not _continues(response, have, size, validator):
            partial.unlink()
            raise ConnectionError("the file changed on the server")
        size = _whole_size(response, have)
        if not have:
            partial.unlink(missing_ok=True)  # before the note: they belong together
            _note(partial).write_text(json.dumps([size, _validator(response)]), encoding="utf-8")
        with (
            open(partial, "ab") as file,
            progress(
                total=size,
                initial=have,
                desc=f"fetching {_file_name(address)}",
                unit="B",
                unit_scale=True,
            ) as bar,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    if size is not None and _size(partial) != size:
        raise ConnectionError(f"the connection closed after {_size(partial)} of {size} bytes")


def _open(address: str, have: int, validator: str | None) -> http.client.HTTPResponse:
    headers = {"User-Agent": USER_AGENT}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator is not None:
            headers["If-Range"] = validator
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        if error.code == OUT_OF_RANGE and have:  # the file has become shorter
            return _open(address, 0, None)
        raise
    except (ValueError, http.client.InvalidURL) as error:  # an address that urllib can't read
        raise TransferError(str(error)) from error
    if address.lower().startswith("https:") and not response.url.startswith("https:"):
        raise TransferError(f"it is redirected to {response.url}, which isn't https")
    if response.headers.get_content_type() == "text/html":
        raise TransferError("the server sends a web page; give the address of the file itself")
    return response


def _resume_point(partial: Path) -> tuple[int, int | None, str | None]:
    """Bytes that are there, the whole size and the server's validator; (0, None, None) anew."""
    try:
        size, validator = json.loads(_note(partial).read_text(encoding="utf-8"))
        have = _size(partial)
    except (OSError, ValueError):
        return 0, None, None
    if size is None and validator is None:  # nothing would tell a part of another file
        return 0, None, None
    return have, size, validator


def _continues(response, have: int, size: int | None, validator: str | None) -> bool:
    """Whether a partial response is the rest of the file that ``have`` bytes are there of."""
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return (
        span is not None
        and int(span[1]) == have
        and (size is None or int(span[2]) == size)
        and _validator(response) == validator
    )


def _whole_size(response: http.client.HTTPResponse, have: int) -> int | None:
    """Bytes of the whole file; ``None`` where it comes in chunks, whose last is marked."""
    if response.chunked:
        return None
    if not response.length:
        raise TransferError("the server sends nothing, or doesn't say how much")
    return have + response.length


def _validator(response: http.client.HTTPResponse) -> str | None:
    """A strong ETag, else the date of the last change."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _note(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _file_name(address: str) -> str:
    return address.partition("?")[0].rpartition("/")[2]
