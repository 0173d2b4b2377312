"""What the index holds of one session file: where spikes lie, what was shown when, what is invalid.

An index is an uncompressed NPZ file (its members carry checksums) without pickled objects, beside its session file:
``session_715093703/.session_715093703.nwb.index.npz``. It states the version of the file that it was made from, and is
used as long as that is the version that is there. It holds no spikes but every 512th of a local file's that lie end to
end.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.errors import CorruptFileError, FileFormatError
from allen_ecephys.files import open_regular, write_atomically
from allen_ecephys.nwb import layout
from allen_ecephys.nwb.value_places import ValuePlaces
from allen_ecephys.spikes.spike_places import SpikePlaces

from ..tables.parsed_copies import check_members

if TYPE_CHECKING:
    import pandas as pd

    from allen_ecephys.nwb.reader import NwbReader
    from allen_ecephys.stimulus.presentations import Coded, Presentations

    Members = Mapping[str, np.ndarray[Any, Any]]

FORMAT: Final = 2


@dataclass(frozen=True)
class FileVersion:
    """Which version of a session file: by size and times where it is local, by size and tag where it is remote.

    Attributes
    ----------
    size
        Bytes.
    mtime_ns, ctime_ns
        When a local file's contents were changed, and when anything about it was. The latter cannot be set by
        anybody: a file that was replaced by one of equal size and restored time shows it.
    etag
        The remote's strong version tag.
    """

    size: int
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    etag: str | None = None

    @classmethod
    def of_local(cls, status: os.stat_result) -> FileVersion:
        """Return the version of a local file, by its status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @classmethod
    def of_path(cls, path: Path) -> FileVersion:
        """Return the version of a local file, or of a Zarr store: all bytes of its files, and its latest times.

        Raises
        ------
        CorruptFileError
            If a store changes while it is looked at.
        """
        if not path.is_dir():
            return cls.of_local(path.stat())
        size, changed, touched = 0, 0, 0
        for folder, _, names in os.walk(path):
            for place in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118  thousands of them
                try:
                    status = os.lstat(place)
                except FileNotFoundError as error:
                    msg = f"{path} was changed while it was looked at: {place} is gone; ask again"
                    raise CorruptFileError(msg) from error
                size += status.st_size
                changed, touched = max(changed, status.st_mtime_ns), max(touched, status.st_ctime_ns)
        return cls(size, changed, touched)


class SessionIndex:
    """The index of one session file, read part by part.

    Parameters
    ----------
    about
        What the index says of itself (see :func:`contents_of`).
    members
        Its arrays, or the path of the file that holds them.
    """

    def __init__(self, about: Mapping[str, Any], members: Members | Path) -> None:
        self._about = about
        self._members = members
        self.version = FileVersion(**about["version"])

    @property
    def session_id(self) -> int:
        """Id that the file states."""
        return int(self._about["session_id"])

    @property
    def stimulus_names(self) -> list[str]:
        """Names of the stimuli that the file holds, those in invalid times among them."""
        return list(self._about["stimulus_names"])

    @property
    def unit_count(self) -> int:
        """Units of the file."""
        return int(self._about["units"])

    @property
    def presentation_count(self) -> int:
        """Presentations of the file."""
        return int(self._about["presentations"])

    @cached_property
    def places(self) -> SpikePlaces:
        """Where the spikes of the units lie, without the marks among them."""
        held = self._read("unit_ids", "starts", "stops", "ascending", "chunk_offsets", "chunk_sizes")
        known = held["ascending"] if self._about["read_through"] else None
        told = self._about["chunks"]
        stored = None
        if told is not None:
            stored = ValuePlaces(told["length"], held["chunk_offsets"], held["chunk_sizes"], tuple(told["filters"]))
        return SpikePlaces(held["unit_ids"], held["starts"], held["stops"], stored, known)

    def marks(self) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """Return every 512th spike of each unit, None where the spikes were not read through."""
        return self._read("marks")["marks"] if self._about["read_through"] else None

    def presentations(self) -> Presentations:
        """Return the presentations as the session file gives them."""
        from allen_ecephys.stimulus.presentations import Presentations

        parameters = self._about["parameters"]
        codes = [f"codes_{number}" for number in range(len(parameters))]
        held = self._read("start_time", "stop_time", "condition", "names", *codes)
        coded = {
            name: _coded(held[code], levels) for code, (name, levels) in zip(codes, parameters.items(), strict=True)
        }
        names = _coded(held["names"], self._about["stimulus_names"])
        return Presentations(held["start_time"], held["stop_time"], names, coded, held["condition"].astype(np.int64))

    def invalid_times(self) -> pd.DataFrame:
        """Return the invalid intervals as the session file gives them."""
        import pandas as pd

        held = self._read("invalid_ids", "invalid_starts", "invalid_stops")
        index = pd.Index(held["invalid_ids"], name="id")
        tags = pd.Series([list(t) for t in self._about["invalid_tags"]], index=index, dtype=object)
        times = {"start_time": held["invalid_starts"], "stop_time": held["invalid_stops"]}
        return pd.DataFrame({**times, "tags": tags}, index=index)

    def _read(self, *names: str) -> Members:
        if not isinstance(self._members, Path):
            return {name: self._members[name] for name in names}
        found = _opened(self._members, names)
        if found is None or found[0] != self._about:
            msg = f"{self._members} was replaced while it was read: its session file changed; ask again"
            raise CorruptFileError(msg)
        return found[1]


def contents_of(reader: NwbReader, session_id: int, version: FileVersion) -> tuple[dict[str, Any], Members]:
    """Return what the index of a session file holds: what it says of itself, and its arrays.

    Parameters
    ----------
    reader
        The file.
    session_id
        The session that the project says it is.
    version
        The file's version from before it was read.

    Raises
    ------
    FileFormatError
        If the file is another session's, or not in the released layout.
    CorruptFileError
        If it is damaged.
    """
    from allen_ecephys.stimulus.presentations import read_invalid_times, read_presentations

    stated = reader.text(layout.IDENTIFIER)
    if stated.strip() != str(session_id):
        msg = f"{reader.name} is the file of session {stated:.40}, not of {session_id}: put each file in its place"
        raise FileFormatError(msg)
    places = SpikePlaces.of(reader)
    stored = places.stored
    shown = read_presentations(reader)
    invalid = read_invalid_times(reader)
    known = places.ascending is not None and places.marks is not None
    about = {
        "format": FORMAT,
        "session_id": session_id,
        "version": asdict(version),
        "units": len(places.unit_ids),
        "presentations": len(shown),
        "chunks": None if stored is None else {"length": stored.length, "filters": stored.filters},
        "read_through": known,
        "stimulus_names": [str(name) for name in shown.names.levels],
        "parameters": {name: column.levels for name, column in shown.parameters.items()},
        "invalid_tags": [[str(tag) for tag in tags] for tags in invalid["tags"]],
    }
    about = json.loads(json.dumps(about))  # as it is read again, to be compared with that
    nothing: np.ndarray[Any, Any] = np.empty(0)
    members = {
        "unit_ids": places.unit_ids,
        "starts": places.starts,
        "stops": places.stops,
        "chunk_offsets": nothing if stored is None else stored.offsets,
        "chunk_sizes": nothing if stored is None else stored.sizes,
        "ascending": nothing if places.ascending is None else places.ascending,
        "marks": nothing if places.marks is None else places.marks,
        "start_time": shown.start_time,
        "stop_time": shown.stop_time,
        "condition": _small(shown.condition),
        "names": _small(shown.names.codes),
        **{f"codes_{number}": _small(column.codes) for number, column in enumerate(shown.parameters.values())},
        "invalid_ids": invalid.index.to_numpy(np.int64),
        "invalid_starts": invalid["start_time"].to_numpy(np.float64),
        "invalid_stops": invalid["stop_time"].to_numpy(np.float64),
    }
    return about, members


def save(path: Path, about: Mapping[str, Any], members: Members) -> None:
    """Write an index; readers see the old file or the whole new one.

    Raises
    ------
    AccessError, DiskFullError
        If the folder cannot be written.
    """
    buffer = io.BytesIO()
    told = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    np.savez(buffer, allow_pickle=False, about=told, **members)
    write_atomically(path, buffer.getvalue(), durable=False)


def load(path: Path) -> SessionIndex | None:
    """Return the index that lies at `path`, None where there is none of this format."""
    found = _opened(path, ())
    return None if found is None else SessionIndex(found[0], path)


def _opened(path: Path, names: tuple[str, ...]) -> tuple[dict[str, Any], Members] | None:
    """Return what an index file says of itself and some of its arrays; None where there is no index of this format."""
    try:
        with open_regular(path) as file:
            check_members(file)
            with np.load(file, allow_pickle=False) as members:
                about: dict[str, Any] = json.loads(bytes(members["about"]))
                if about["format"] != FORMAT:
                    return None
                return about, {name: members[name] for name in names}
    except FileNotFoundError:
        return None


def _small(codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return codes.astype(np.int16 if len(codes) == 0 or codes.max() < 1 << 15 else np.int32)


def _coded(codes: np.ndarray[Any, Any], levels: list[Any]) -> Coded:
    from allen_ecephys.stimulus.presentations import Coded

    return Coded(codes.astype(np.int64), list(levels))
