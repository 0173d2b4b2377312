"""The remote that an address names: the one place that turns a URL or a folder into a remote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .protocol import Remote


def remote_at(url: str | Path, *, storage_options: Mapping[str, Any] | None = None) -> Remote:
    """Return the remote that a URL or folder names.

    Parameters
    ----------
    url
        ``http(s)://...``, a folder (``/data/ecephys-cache``, ``file://...``), ``s3://bucket/prefix`` (needs the extra
        ``s3``; anonymous unless `storage_options` say otherwise), or any other URL that fsspec knows.
    storage_options
        Passed to the fsspec file system (``{"anon": False}``, ``{"endpoint_url": ...}``); not for HTTP or folders.
    """
    text = str(url)
    scheme = urlsplit(text).scheme.lower() if "://" in text else ""
    if scheme in {"http", "https"}:
        from .http import HttpRemote

        return HttpRemote(text)
    from .fsspec import FolderRemote, FsspecRemote

    if scheme in {"", "file", "local"}:
        return FolderRemote(text.partition("://")[2] if scheme else text)
    return FsspecRemote(text, storage_options=storage_options)
