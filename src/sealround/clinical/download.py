"""Bring one file of known size and checksum from its address: resumable, bounded, and kept only if it is that file.

A download grows in ``NAME.part`` beside its place. It is resumed with a range request (RFC 9110, section 14) that holds
only for the same representation (``If-Range``, section 13.1.5), checked as a whole when complete, and then moved to its
place in one step: at that place there is the right file or none.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

from sealround.errors import ServiceError, UsageError, VerificationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Checksum", "Observer", "Patience", "RemoteFile", "download", "matches"]

Observer: TypeAlias = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes there will be."""

_CHUNK = 2**16
_TIMEOUT_S = 30.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_CONNECTION_LOST = (TimeoutError, ConnectionError, ssl.SSLError)
_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a file's bytes must hash to.

    MD5 is accepted where a publisher gives nothing better: it finds every accident and no forger. Against a forger
    stands the publisher's TLS certificate only.

    Attributes:
        kind: Name of the hash.
        value: Lower-case hexadecimal.
    """

    kind: Literal["sha256", "md5"]
    value: str


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file as its publisher describes it.

    Attributes:
        address: Where it is, https.
        size_bytes: How large it is.
        checksum: What it hashes to.
    """

    address: str
    size_bytes: int
    checksum: Checksum


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a broken download is taken up again.

    Attributes:
        waits_s: Seconds to wait before each further attempt.
        sleep: Waits.
    """

    waits_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    sleep: Callable[[float], None] = time.sleep


class _BrokenError(Exception):
    """An attempt ended early; the next one may do better."""


def matches(path: Path, size_bytes: int, checksum: Checksum) -> bool:
    """Return whether a file has a size and checksum (a comparison, not a verdict: `download` raises)."""
    if path.stat().st_size != size_bytes:
        return False
    with path.open("rb") as file:
        if checksum.kind == "md5":
            return hashlib.file_digest(file, _md5).hexdigest() == checksum.value
        return hashlib.file_digest(file, checksum.kind).hexdigest() == checksum.value


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def download(
    remote: RemoteFile, target: Path, *, patience: Patience | None = None, observe: Observer | None = None
) -> None:
    """Bring a file to its place, going on from what an earlier attempt left.

    Args:
        remote: The file.
        target: Its place; an existing file there is replaced. The folder is made if need be.
        patience: How often to try again.
        observe: Told of progress.

    Raises:
        ServiceError: If the server does not answer, refuses, or the disk does.
        UsageError: If the address is not https.
        VerificationError: If what arrived is not the file; it is removed.
    """
    _check_address(remote.address, remote.address)
    patience = patience or Patience()
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _attempts(_Attempt(remote, part, observe or (lambda _done, _total: None)), patience)
        part.replace(target)
        _etag_of(part).unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ServiceError(
            f"cannot write {target}: {reason}", hint="check the folder, its rights and free space"
        ) from error


def _attempts(attempt: _Attempt, patience: Patience) -> None:
    """Try until the whole file is here and right."""
    why = ""
    for wait in (0.0, *patience.waits_s):
        if wait:
            patience.sleep(wait)
        resumed = attempt.here() > 0
        try:
            attempt.go_on()
        except _BrokenError as error:
            why = str(error)
            continue
        if matches(attempt.part, attempt.remote.size_bytes, attempt.remote.checksum):
            return
        attempt.discard()
        if not resumed:
            name, kind = attempt.remote.address, attempt.remote.checksum.kind.upper()
            hint = "the file was removed; try again later, and if it persists tell the publisher or update sealround"
            raise VerificationError(f"{name}: what arrived does not have the known {kind}", hint=hint)
        why = "what an earlier attempt had left was of another file"
    count = len(patience.waits_s) + 1
    hint = "check the connection (and HTTPS_PROXY); the same command goes on where this one stopped"
    raise ServiceError(f"{attempt.remote.address}: {why} ({count} attempts)", hint=hint)


@dataclass(frozen=True, slots=True)
class _Attempt:
    remote: RemoteFile
    part: Path
    observe: Observer

    def here(self) -> int:
        """Return how many bytes are here; too many are as good as none."""
        if not self.part.is_file():
            return 0
        size = self.part.stat().st_size
        if size > self.remote.size_bytes:
            self.discard()
            return 0
        return size

    def discard(self) -> None:
        """Remove what is here."""
        self.part.unlink(missing_ok=True)
        _etag_of(self.part).unlink(missing_ok=True)

    def go_on(self) -> None:
        """Ask for what is missing and write it.

        Raises:
            _BrokenError: If it ended early.
            ServiceError: If the server refuses.
            VerificationError: If the server has a file of another size.
        """
        start = self.here()
        if start == self.remote.size_bytes:
            return
        try:
            with _OPENER.open(self._request(start), timeout=_TIMEOUT_S) as response:
                self._receive(response, start)
        except urllib.error.HTTPError as error:
            self._refused(error, start)
        except (urllib.error.URLError, http.client.HTTPException, *_CONNECTION_LOST) as error:
            raise _BrokenError(_reason(error)) from None

    def _request(self, start: int) -> urllib.request.Request:
        headers = {"Accept-Encoding": "identity", "User-Agent": "sealround"}
        if start:
            headers["Range"] = f"bytes={start}-"
            etag = _etag_of(self.part)
            if etag.is_file():
                headers["If-Range"] = etag.read_text(encoding="ascii")
        return urllib.request.Request(self.remote.address, headers=headers)  # noqa: S310  (checked: https, or loopback)

    def _receive(self, response: http.client.HTTPResponse, start: int) -> None:
        size = self.remote.size_bytes
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != start:
                self.discard()
                raise _BrokenError("the server sent another part than was asked for")
            total = found[3]
        else:
            start, total = 0, response.headers.get("Content-Length", "*")
        if total.isdecimal() and int(total) != size:
            self.discard()
            hint = "the publisher may have changed it; see whether a newer sealround knows the new file"
            raise VerificationError(f"{self.remote.address}: {total} bytes, and {size} are known", hint=hint)
        if (etag := response.headers.get("ETag", "")).startswith('"') and etag.isascii():
            _etag_of(self.part).write_text(etag, encoding="ascii")
        with self.part.open("r+b" if start else "wb") as file:
            file.seek(start)
            done = self._copy(response, file, start)
        if done > size:
            self.discard()
            raise VerificationError(f"{self.remote.address}: more than the known {size} bytes", hint="nothing was kept")
        if done < size:
            raise _BrokenError(f"the connection ended after {done} of {size} bytes")

    def _copy(self, response: http.client.HTTPResponse, file: IO[bytes], done: int) -> int:
        """Write what comes, and at most one byte too many; return how much there is."""
        size = self.remote.size_bytes
        self.observe(done, size)
        while done < size and (chunk := response.read(min(_CHUNK, size - done))):
            file.write(chunk)
            done += len(chunk)
            self.observe(done, size)
        file.flush()
        os.fsync(file.fileno())
        return done + len(response.read(1)) if done == size else done

    def _refused(self, error: urllib.error.HTTPError, start: int) -> None:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                self.discard()
                raise _BrokenError("the server has no more of the file that was begun")
            said = f"{self.remote.address}: the server says {error.code} {error.reason}"
        if error.code in _WORTH_RETRYING:
            raise _BrokenError(f"the server says {error.code} {error.reason}")
        raise ServiceError(said, hint="the publisher may have moved it; see its page, or try again later")


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only (to loopback from loopback, for tests)."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Refuse to be led off https."""
        _check_address(newurl, req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_HttpsOnly)


def _check_address(address: str, from_address: str) -> None:
    if urlsplit(address).scheme == "https" or (_is_loopback(address) and _is_loopback(from_address)):
        return
    if address == from_address:
        raise UsageError(f"{address} is not an https address", hint="public data is fetched over https only")
    raise ServiceError(f"{from_address} leads to {address}, which is not https", hint="see the publisher's page")


def _is_loopback(address: str) -> bool:
    parts = urlsplit(address)
    try:
        return parts.scheme == "http" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _etag_of(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    if isinstance(inner, OSError):
        return inner.strerror or type(inner).__name__
    return str(inner or error) or type(error).__name__
