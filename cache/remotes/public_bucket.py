"""The release's own bucket over HTTPS, whose files are known by size and, some, by digest."""

from __future__ import annotations

from .http import HttpRemote
from .protocol import PUBLIC_URL, RemoteFile
from .registry import judged_by_release


class PublicBucket(HttpRemote):
    """The public bucket: :class:`.HttpRemote`, with the published sizes and digests overruling the server's word."""

    def __init__(self) -> None:
        super().__init__(PUBLIC_URL)

    def locate(self, key: str) -> RemoteFile:
        """Return what was published about the file, else what the server says (see :class:`.Remote`)."""
        return judged_by_release(super().locate(key))
