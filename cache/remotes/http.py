"""A base URL over HTTP(S) as a remote: sizes by HEAD, bytes by Range, redirects only where they are expected."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urljoin, urlsplit

import requests
import urllib3

from allen_ecephys.config import OFFLINE, offline
from allen_ecephys.errors import AccessError, DownloadError, OfflineError, RemoteNotFoundError

from .patience import PatientSession
from .protocol import CHUNK_BYTES, RemoteFile, RemoteStatusError, UnreachableError, safe_key, without_credentials

#: Hosts that the release's own servers may redirect to. Any other host must be the one asked.
TRUSTED_HOSTS = frozenset(
    {
        "allen-brain-observatory.s3.amazonaws.com",
        "allen-brain-observatory.s3.us-west-2.amazonaws.com",
        "api.brain-map.org",
        "api.dandiarchive.org",
        "dandiarchive.s3.amazonaws.com",
        "dandiarchive.s3.us-east-2.amazonaws.com",
    }
)
MAX_REDIRECTS = 5
#: Longest answer that is held in memory. A page of 5,000 rows of metrics has some 30 MB.
MOST_BODY_BYTES = 256 << 20
_MD5 = re.compile(r'"([0-9a-f]{32})"')


class HttpRemote:
    """Files below a base URL.

    Parameters
    ----------
    url
        Base URL; a key is appended to its path.
    connect_timeout, read_timeout
        Seconds until a connection must stand, and the longest silence within an answer. There is no limit on the
        total time.

    Notes
    -----
    Redirects are followed by hand, at most five: to the host asked and to the release's own servers, never from
    https to http and never to another scheme. Certificates are always checked (``REQUESTS_CA_BUNDLE`` names others).
    Bodies are asked for unencoded, so that offsets mean bytes of the file.
    """

    def __init__(self, url: str, *, connect_timeout: float = 10.0, read_timeout: float = 30.0) -> None:
        self._base = url if url.endswith("/") else f"{url}/"
        self._timeout = (connect_timeout, read_timeout)
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {"_base": self._base, "_timeout": self._timeout}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def base(self) -> str:
        """The base URL as it was given."""
        return self._base

    @property
    def url(self) -> str:
        """The base URL without credentials."""
        return without_credentials(self._base)

    # --- the protocol ------------------------------------------------------------------------------------------

    def locate(self, key: str) -> RemoteFile:
        """Return size, version tag and, where an S3 server states one, the MD5 digest (see :class:`.Remote`)."""
        return self.locate_url(key, self._base + quote(safe_key(key)))

    def locate_url(self, key: str, url: str) -> RemoteFile:
        """Return what the server says about the file at `url`, known here as `key`."""
        with contextlib.closing(self.request("HEAD", url)) as answer:
            if answer.status_code not in {405, 501}:
                _raise_for_status(answer, url)
                size = _content_length(answer)
                if size != 0:  # which servers say that do not count what they would send
                    return RemoteFile(key, without_credentials(url), size, answer.headers.get("ETag"), _digest(answer))
        with contextlib.closing(self.request("GET", url, headers={"Range": "bytes=0-0"})) as answer:
            _raise_for_status(answer, url)
            size = _content_range(answer)[1] if answer.status_code == 206 else _content_length(answer)
            return RemoteFile(key, without_credentials(url), size, answer.headers.get("ETag"), _digest(answer))

    def open_range(
        self, file: RemoteFile, start: int = 0, stop: int | None = None, *, if_range: str | None = None
    ) -> HttpResponse:
        """Open bytes [start, stop) of a file (see :class:`.Remote`)."""
        headers = {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            if if_range:
                headers["If-Range"] = if_range
        url = self._with_credentials(file.url)
        answer = self.request("GET", url, headers=headers)
        try:
            _raise_for_status(answer, url)
            return HttpResponse(answer, file.url)
        except BaseException:
            answer.close()
            raise

    # --- requests ----------------------------------------------------------------------------------------------

    def _with_credentials(self, url: str) -> str:
        """Put back what :attr:`url` leaves out, for files below the base."""
        below = url.startswith(self.url)
        return self._base.partition("?")[0] + url.removeprefix(self.url) if below else url

    @property
    def _session(self) -> requests.Session:
        # One session a thread: requests does not promise that a session may be shared.
        if not hasattr(self._local, "session"):
            self._local.session = PatientSession()
        session: requests.Session = self._local.session
        return session

    def request(self, method: str, url: str, *, headers: dict[str, str] | None = None) -> requests.Response:
        """Send a request and follow expected redirects; the body is not yet read.

        Raises
        ------
        OfflineError
            If network connections are forbidden.
        AccessError
            For a bad certificate or a refused redirect.
        UnreachableError, DownloadError
            If there is no connection, or it breaks.
        """
        shown = without_credentials(url)
        if offline():
            msg = f"{shown} is needed, but {OFFLINE.variable} forbids network connections; unset it to fetch"
            raise OfflineError(msg)
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._send(method, url, {"Accept-Encoding": "identity", **(headers or {})})
            if not answer.is_redirect and not answer.is_permanent_redirect:
                return answer
            answer.close()
            target = _redirect_target(url, answer.headers["Location"])
            if target == f"{url}/":
                msg = f"{shown} is a folder on the server, no file"
                raise RemoteNotFoundError(msg)
            url = target
        msg = f"{shown} redirects more than {MAX_REDIRECTS} times; the server is misconfigured"
        raise AccessError(msg)

    def _send(self, method: str, url: str, headers: dict[str, str]) -> requests.Response:
        shown = without_credentials(url)
        try:
            return self._session.request(
                method, url, headers=headers, stream=True, allow_redirects=False, timeout=self._timeout
            )
        except requests.exceptions.SSLError as error:
            msg = f"the certificate of {shown} is not trusted ({_reason(error)}); REQUESTS_CA_BUNDLE names others"
            raise AccessError(msg) from error
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            msg = f"{shown} is no address that can be fetched: {_reason(error)}"
            raise AccessError(msg) from error
        except requests.exceptions.ConnectTimeout as error:
            msg = f"{shown} does not answer within {self._timeout[0]:g} s; cached files stay usable with fixed()"
            raise UnreachableError(msg) from error
        except requests.exceptions.ConnectionError as error:
            if isinstance(_innermost(error), (urllib3.exceptions.ProtocolError, ConnectionResetError)):
                msg = f"the connection to {shown} broke: {_reason(error)}"
                raise DownloadError(msg) from error
            msg = f"{shown} cannot be reached ({_reason(error)}); cached files stay usable with fixed()"
            raise UnreachableError(msg) from error
        except requests.exceptions.RequestException as error:
            msg = f"the request to {shown} failed: {_reason(error)}"
            raise DownloadError(msg) from error
        except (UnicodeError, OverflowError, urllib3.exceptions.HTTPError) as error:
            msg = f"{shown} is no address that can be fetched: {_reason(error)}"
            raise AccessError(msg) from error


class HttpResponse:
    """An answer whose body is being read (see :class:`.RangeResponse`)."""

    def __init__(self, answer: requests.Response, url: str) -> None:
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            msg = f"{url} was sent {encoding}-encoded although unencoded bytes were asked for; a proxy rewrites it"
            raise DownloadError(msg)
        self._answer = answer
        self._url = url
        self.status = answer.status_code
        self.headers = answer.headers
        self.etag = answer.headers.get("ETag")
        self.length = _content_length(answer)
        self.start, self.total = _content_range(answer) if self.status == 206 else (0, self.length)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._answer.close()

    def __iter__(self) -> Iterator[bytes]:
        try:
            # read1 hands over what has come: read() and stream() would hold back the bytes before a cut or a drip.
            while chunk := self._answer.raw.read1(CHUNK_BYTES, decode_content=False):
                yield chunk
        except (urllib3.exceptions.HTTPError, requests.exceptions.RequestException, OSError) as error:
            msg = f"the transfer of {self._url} broke off: {_reason(error)}"
            raise DownloadError(msg) from error


def whole_body(answer: requests.Response) -> bytes:
    """Return the body of an answer that is to be held in memory: a listing, a page of a query.

    Raises
    ------
    DownloadError
        If it is encoded, breaks off, or is longer than any of them.
    """
    body = bytearray()
    for piece in HttpResponse(answer, without_credentials(answer.url)):
        body += piece
        if len(body) > MOST_BODY_BYTES:
            msg = f"{without_credentials(answer.url)} sends more than {MOST_BODY_BYTES:,} bytes; it is no such listing"
            raise DownloadError(msg)
    return bytes(body)


def _raise_for_status(answer: requests.Response, url: str) -> None:
    status, shown = answer.status_code, without_credentials(url)
    if status in {200, 206}:
        return
    if status in {404, 410}:
        msg = f"{shown} does not exist on the server (HTTP {status})"
        raise RemoteNotFoundError(msg)
    if status in {401, 403, 407}:
        msg = f"the server refuses {shown} (HTTP {status}): the file may not be public, or a proxy blocks it"
        raise AccessError(msg)
    msg = f"the server answered HTTP {status} for {shown}"
    raise RemoteStatusError(msg, status, answer.headers.get("Retry-After"))


def _redirect_target(url: str, location: str) -> str:
    """Return the address that a redirect names; refuse one that is not expected.

    Headers arrive as Latin-1 (RFC 9110, section 5.5); where their bytes are UTF-8, they are meant so.
    """
    with contextlib.suppress(UnicodeError):
        location = location.encode("latin-1").decode("utf-8")
    try:
        target = urljoin(url, location)
        _check_redirect(url, target)
    except ValueError as error:
        msg = f"{without_credentials(url)} redirects to {location[:80]!r}, which is no address: {error}"
        raise AccessError(msg) from error
    return target


def _check_redirect(url: str, target: str) -> None:
    came, goes = urlsplit(url), urlsplit(target)
    _ = goes.port  # raises for a port that is none
    downgraded = came.scheme == "https" and goes.scheme != "https"
    if goes.scheme in {"http", "https"} and not downgraded and goes.hostname in {came.hostname, *TRUSTED_HOSTS}:
        return
    msg = (
        f"{without_credentials(url)} redirects to {without_credentials(target)}, which is refused: "
        "another host, or not encrypted. A login portal or proxy may be in the way; if the move is genuine, "
        "name the new address as the remote"
    )
    raise AccessError(msg)


def _content_length(answer: requests.Response) -> int | None:
    text = answer.headers.get("Content-Length")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text.strip()):
        msg = f"{without_credentials(answer.url)} is answered with the unreadable Content-Length {text[:40]!r}"
        raise DownloadError(msg)
    return int(text)


def _content_range(answer: requests.Response) -> tuple[int, int | None]:
    """Return (first byte, size of the whole file or None) of a 206 answer."""
    text = answer.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", text.strip())
    if match is None:
        msg = f"{without_credentials(answer.url)} answers a range with the unreadable Content-Range {text[:80]!r}"
        raise DownloadError(msg)
    return int(match[1]), None if match[3] == "*" else int(match[3])


def _digest(answer: requests.Response) -> tuple[str, str] | None:
    """Return the MD5 an S3 server states as ETag, which it does for objects uploaded in one part and not by KMS."""
    headers = answer.headers
    is_s3 = headers.get("Server") == "AmazonS3" or "x-amz-request-id" in headers
    kms = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    match = _MD5.fullmatch(headers.get("ETag", ""))
    return ("md5", match[1]) if is_s3 and not kms and match else None


def _innermost(error: BaseException) -> BaseException:
    """Return the library error that `requests` wrapped."""
    cause = error.args[0] if error.args else error
    cause = getattr(cause, "reason", None) or cause
    return cause if isinstance(cause, BaseException) else error


def _reason(error: BaseException) -> str:
    """Return the cause in one line, without addresses that may hold credentials."""
    cause = _innermost(error)
    text = re.sub(r"\w+://\S+", "the address", str(cause)) or type(cause).__name__
    return f"{type(cause).__name__}: {text.splitlines()[0][:160]}"
