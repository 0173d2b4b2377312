"""What is known of the released files before a server is asked: sizes, and digests where they are published.

The facts ship in ``registry_data``. They are used only by remotes that hold the release itself; a folder or server of
one's own may hold other files under the same names.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Final

from .protocol import RemoteFile

#: Rows of the released tables.
TABLE_ROWS: Final[Mapping[str, int]] = {"sessions": 58, "probes": 332, "channels": 123_224, "units": 135_275}
#: Templates of the release: movies shown, and natural scenes.
MOVIES: Final = (1, 3)
SCENES: Final = 118


@cache
def released_files() -> Mapping[str, RemoteFile]:
    """Return what is known, by key; the URLs are empty, because it holds wherever the file comes from."""
    return {
        row["key"]: RemoteFile(
            row["key"], "", int(row["size"]), digest=(row["algorithm"], row["digest"]) if row["digest"] else None
        )
        for row in shipped_rows("release_files.csv")
    }


def judged_by_release(file: RemoteFile) -> RemoteFile:
    """Return `file` with the size and digest that were published, which overrule what a server states."""
    known = released_files().get(file.key)
    if known is None:
        return file
    return replace(file, size=known.size, digest=known.digest or file.digest)


def shipped_rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a table that ships with the package."""
    source = files("allen_ecephys.cache.remotes") / "registry_data" / name
    return list(csv.DictReader(source.read_text(encoding="utf-8").splitlines()))
