"""The remote that an address names: the one place that turns a URL or a folder into a remote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from allen_ecephys.errors import InvalidTypeError, InvalidValueError, UnknownNameError, suggest

from .protocol import Remote, without_credentials

#: Bucket and folder of the release, and the hosts under which S3 serves it (AWS, "Virtual hosting of buckets").
_PUBLIC_PLACE: Final = "allen-brain-observatory/visual-coding-neuropixels/ecephys-cache"
_RELEASE_FOLDER: Final = "ecephys-cache"
_S3_HOST: Final = re.compile(r"(?:(?P<bucket>[\w.-]+)\.)?s3(?:[.-]dualstack)?(?:[.-]us-west-2)?\.amazonaws\.com")


def remote_at(place: Remote | str | Path, *, storage_options: Mapping[str, Any] | None = None) -> Remote:
    """Return the remote that a URL or folder names.

    Parameters
    ----------
    place
        ``http(s)://...``, a folder (``/data/ecephys-cache``, ``file://...``), ``s3://bucket/prefix`` (needs the extra
        ``s3``; anonymous unless `storage_options` say otherwise), or any other URL that fsspec knows. The public
        bucket, however its address is spelled, knows the published sizes and digests of its files. A remote is
        returned as it is.
    storage_options
        Passed to the fsspec file system (``{"anon": False}``, ``{"endpoint_url": ...}``); not for HTTP or folders.

    Raises
    ------
    InvalidValueError
        If it is no address.
    UnknownNameError
        If it is of a kind that fsspec does not know.
    InvalidTypeError
        If it is neither text nor a path nor a remote.
    """
    if isinstance(place, Remote):
        return place
    if not isinstance(place, str | Path) or not str(place):
        msg = f"a place to fetch from is a URL, a folder or a Remote; got {place!r:.200}"
        raise InvalidTypeError(msg)
    options: object = storage_options
    if not isinstance(options, Mapping | None):
        msg = f"storage_options must be a dict, such as {{'anon': False}}; got {storage_options!r:.200}"
        raise InvalidTypeError(msg)
    text = str(place)
    try:
        urlsplit(text)
    except ValueError as error:
        msg = f"{text!r} is no address: {error}"
        raise InvalidValueError(msg) from error
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if _is_public_bucket(text) and (scheme != "s3" or set(storage_options or {}) <= {"anon"}):
        from .public_bucket import PublicBucket

        return PublicBucket()
    if scheme in {"http", "https"}:
        from .http import HttpRemote

        return HttpRemote(text)
    from .fsspec import FolderRemote, FsspecRemote

    if scheme in {"", "file", "local"}:
        return FolderRemote(text.partition("://")[2] if scheme else text)
    from fsspec import available_protocols
    from fsspec.registry import registry

    known = {*available_protocols(), *registry}  # those that fsspec names, and those that this process added
    for kind in scheme.split("::"):
        if kind not in known:
            near = suggest(kind, sorted(known))
            msg = f"{without_credentials(text)} is no address that fsspec knows: none begins with {kind}://{near}"
            raise UnknownNameError(msg)
    return FsspecRemote(text, storage_options=storage_options)


def beside(remote: Remote) -> Remote:
    """Return the remote in which a project's raw data lie: one folder above ``ecephys-cache``, as in the bucket.

    A remote whose address ends otherwise holds its raw data itself.
    """
    from .fsspec import FolderRemote, FsspecRemote
    from .http import HttpRemote

    place = remote.url.rstrip("/")
    if not place.endswith(f"/{_RELEASE_FOLDER}"):
        return remote
    if isinstance(remote, HttpRemote):
        return HttpRemote(remote.base.rstrip("/").removesuffix(_RELEASE_FOLDER))
    if isinstance(remote, FolderRemote):
        return FolderRemote(remote.folder.parent)
    if isinstance(remote, FsspecRemote):
        return remote.above()
    return remote


def _is_public_bucket(url: str) -> bool:
    """Tell whether a URL is one of the spellings of the release's own bucket."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.query or parts.fragment or parts.username is not None:
        return False
    host, path = parts.hostname or "", "/".join(filter(None, parts.path.split("/")))
    if parts.scheme == "s3":
        return f"{host}/{path}" == _PUBLIC_PLACE
    match = _S3_HOST.fullmatch(host)
    if match is None or (parts.scheme, port) not in {("https", None), ("https", 443), ("http", None), ("http", 80)}:
        return False
    return "/".join(filter(None, (match["bucket"], path))) == _PUBLIC_PLACE
