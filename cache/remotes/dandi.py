"""The DANDI archive as a remote: the release's NWB files by the dandiset's asset listing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from allen_ecephys.config import expanded
from allen_ecephys.errors import FileFormatError, MissingFileError, RemoteNotFoundError, in_words

from .http import HttpRemote, whole_body
from .opening import remote_at
from .protocol import PUBLIC_URL, RangeResponse, Remote, RemoteFile, safe_key
from .registry import shipped_rows

#: Where the archive keeps the bytes of an asset, by the id of its blob.
BLOBS_URL: Final = "https://dandiarchive.s3.amazonaws.com/blobs/"

#: Pages of a listing that are followed; those of the archive have 100 or 1,000 assets.
_MOST_PAGES: Final = 1000
_ASSET = re.compile(r"sub-[^/]+/sub-[^/_]+_ses-(\d+)(?:_probe-(\d+)_ecephys)?\.nwb")
_BLOB = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class DandiRemote:
    """The NWB files of a dandiset (000021: *Brain Observatory 1.1*; 000022: *Functional Connectivity*).

    Parameters
    ----------
    listing
        The dandiset's asset listing in the archive's JSON format: a file, or a URL whose pages are followed. By
        default that of DANDI:000021, which ships with the package.
    tables
        Where everything else comes from, which the archive does not have (tables, metrics, templates).
    blobs
        Where the archive keeps its bytes.

    Raises
    ------
    FileFormatError
        If the listing is none.
    """

    def __init__(
        self,
        listing: str | Path | None = None,
        *,
        tables: Remote | str | Path | None = PUBLIC_URL,
        blobs: str = BLOBS_URL,
    ) -> None:
        self._blobs = HttpRemote(blobs)
        self._tables = None if tables is None else remote_at(tables)
        if listing is not None and "://" not in str(listing) and not expanded(listing).is_file():
            msg = f"there is no asset listing {listing}; check the path"
            raise MissingFileError(msg)
        self.listing = listing
        self._assets: dict[str, RemoteFile] | None = None

    def __repr__(self) -> str:
        return f"DandiRemote({self.url!r})"

    @property
    def url(self) -> str:
        """Where the bytes are."""
        return self._blobs.url

    @property
    def assets(self) -> Mapping[str, RemoteFile]:
        """The dandiset's NWB files by their key in the released layout."""
        if self._assets is None:
            rows = shipped_rows("dandi_000021.csv") if self.listing is None else _listed(self.listing)
            self._assets = dict(filter(None, (self._file(row) for row in rows)))
            if not self._assets:
                msg = f"{self.listing} lists no session of the release; is it the listing of another dandiset?"
                raise FileFormatError(msg)
        return self._assets

    def locate(self, key: str) -> RemoteFile:
        """Return size and digest by the listing, without asking a server (see :class:`.Remote`)."""
        if safe_key(key) in self.assets:
            return self.assets[key]
        if key.endswith(".nwb") or self._tables is None:
            msg = f"the dandiset has no {key}; it holds {len(self.assets)} files, as session_<id>/session_<id>.nwb"
            raise RemoteNotFoundError(msg)
        return self._tables.locate(key)

    def open_range(
        self, file: RemoteFile, start: int = 0, stop: int | None = None, *, if_range: str | None = None
    ) -> RangeResponse:
        """Open bytes [start, stop) of a file (see :class:`.Remote`)."""
        holder = self._blobs if file.key in self.assets or self._tables is None else self._tables
        return holder.open_range(file, start, stop, if_range=if_range)

    def _file(self, row: Mapping[str, Any]) -> tuple[str, RemoteFile] | None:
        """Return key and file of an asset; None for one that is no session or LFP file."""
        match = _ASSET.fullmatch(str(row.get("path", "")))
        blob = str(row.get("blob", ""))
        if match is None:
            return None
        if not _BLOB.fullmatch(blob) or not str(row.get("size", "")).isdecimal():
            msg = f"the asset {row['path']!r} of the listing has no size, or no blob id ({blob!r})"
            raise FileFormatError(msg)
        session, probe = match[1], match[2]
        key = f"session_{session}/" + (f"probe_{probe}_lfp.nwb" if probe else f"session_{session}.nwb")
        digests = row.get("digest") or (row.get("metadata") or {}).get("digest") or {}
        sha256 = str(digests.get("dandi:sha2-256", ""))
        url = f"{self._blobs.url}{blob[:3]}/{blob[3:6]}/{blob}"
        digest = ("sha256", sha256) if _SHA256.fullmatch(sha256) else None
        return key, RemoteFile(key, url, int(row["size"]), None, digest)


def _listed(listing: str | Path) -> list[Mapping[str, Any]]:
    """Return the assets of a listing, following the pages of one at a URL."""
    if not str(listing).startswith(("http://", "https://")):
        return _assets_of(expanded(listing).read_bytes(), str(listing))[0]
    server = HttpRemote(str(listing))
    found: list[Mapping[str, Any]] = []
    at: str | None = str(listing)
    for _ in range(_MOST_PAGES):
        if at is None:
            return found
        with closing(server.request("GET", at)) as answer:
            if answer.status_code != 200:
                msg = f"the asset listing {at} answers HTTP {answer.status_code}"
                raise RemoteNotFoundError(msg)
            rows, following = _assets_of(whole_body(answer), at)
        found += rows
        if following is not None:
            following = urljoin(at, following)
            if urlsplit(following).netloc != urlsplit(at).netloc:
                msg = f"the asset listing {at} continues on another host: {following}"
                raise FileFormatError(msg)
        at = following
    msg = f"the asset listing {listing} has more than {_MOST_PAGES:,} pages"
    raise FileFormatError(msg)


def _assets_of(content: bytes, source: str) -> tuple[list[Mapping[str, Any]], str | None]:
    try:
        page = json.loads(content)
        rows, following = page["results"], page.get("next")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = in_words(error)
        msg = f"{source} is no asset listing of the DANDI archive: JSON with a list 'results' is expected ({why})"
        raise FileFormatError(msg) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        msg = f"{source} is no asset listing of the DANDI archive: 'results' is no list of assets"
        raise FileFormatError(msg)
    return rows, following
