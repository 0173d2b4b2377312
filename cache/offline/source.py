"""Where a cache was built from, noted in its folder so that later commands ask the same place."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from allen_ecephys.errors import AccessError, DiskFullError, FileFormatError
from allen_ecephys.files import read_regular, write_atomically

from ..remotes.protocol import PUBLIC_URL, Remote

logger = logging.getLogger(__name__)

FILE_NAME: Final = ".allen-ecephys-source.json"
#: What the command line calls the public bucket.
PUBLIC_BUCKET: Final = "s3"


#: What it calls a project that is no copy of another.
NO_SOURCE: Final = "none"


def remember_source(root: Path, remote: Remote) -> None:
    """Note in a cache's folder where it is built from: a word of the command line or an address, no credentials."""
    word = _word(remote)
    if word is None or word == remembered_source(root):
        return
    try:
        write_atomically(root / FILE_NAME, json.dumps({"source": word}), durable=False)
    except (AccessError, DiskFullError) as error:
        logger.warning("where %s was built from could not be noted: %s", root, error)


def remember_own_project(root: Path) -> None:
    """Note that a project is nobody's copy, unless it was built from somewhere: later commands ask nobody."""
    if remembered_source(root) is None:
        write_atomically(root / FILE_NAME, json.dumps({"source": NO_SOURCE}), durable=False)


def remembered_source(root: Path) -> str | None:
    """Return where a cache was built from; None where nothing that can be read says so."""
    try:
        found = json.loads(read_regular(root / FILE_NAME))
    except (OSError, FileFormatError, ValueError, RecursionError):
        return None
    word = found.get("source") if isinstance(found, dict) else None
    return word if isinstance(word, str) and word else None


def _word(remote: Remote) -> str | None:
    """Return what opens the same remote again; None where no single word does."""
    from ..remotes.dandi import DandiRemote
    from ..remotes.warehouse import PUBLIC_HOST, WarehouseRemote

    if isinstance(remote, DandiRemote):
        return "dandi" if remote.listing is None else None
    if isinstance(remote, WarehouseRemote):
        return "warehouse" if remote.url == f"http://{PUBLIC_HOST}/" else None
    return PUBLIC_BUCKET if remote.url == PUBLIC_URL else remote.url
