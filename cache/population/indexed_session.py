"""One session of a population: its spikes and presentations, by its index and without HDF5 where that is possible."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.errors import CorruptFileError
from allen_ecephys.ids import as_names
from allen_ecephys.nwb.sources import open_reader
from allen_ecephys.nwb.value_places import LocalBytes, StreamedBytes
from allen_ecephys.spikes.spike_places import HdfSpikes, LocalSpikes, PlacedBytes
from allen_ecephys.units.filter import UnitFilter

from ..companions import companions_of
from ..index.project_index import version_of_stream
from ..index.session_index import FileVersion

if TYPE_CHECKING:
    import pandas as pd

    from allen_ecephys.session.session import EcephysSession
    from allen_ecephys.spikes.spike_places import PlacedSpikes

    from ..index.project_index import ProjectIndex
    from ..index.session_index import SessionIndex

#: Spikes that are held at once where kernels cannot take them from the file (128 MB).
SPIKES_AT_ONCE: Final = 1 << 24


class IndexedStimuli:
    """What a session showed when, by its index alone.

    Parameters
    ----------
    index
        The session's index.
    """

    def __init__(self, index: SessionIndex) -> None:
        self.index = index

    @cached_property
    def invalid_times(self) -> pd.DataFrame:
        """The invalid intervals."""
        return self.index.invalid_times()

    @cached_property
    def presentations(self) -> pd.DataFrame:
        """The presentations as a session has them: those in invalid times of the stimulus are masked."""
        from allen_ecephys.stimulus.presentations import invalid_mask

        shown = self.index.presentations()
        return shown.table(invalid_mask(shown.start_time, shown.stop_time, self.invalid_times))

    def trials(self, stimulus: str | Sequence[str]) -> pd.DataFrame | None:
        """Return the presentations of a stimulus, or several; None where the session shows none of it."""
        wanted = [stimulus] if isinstance(stimulus, str) else list(stimulus)
        if not set(wanted) & set(self.index.stimulus_names):
            return None
        shown = self.presentations["stimulus_name"]
        held = [name for name in wanted if (shown == name).any()]
        return self.presentations[shown.isin(as_names(held, held)).to_numpy()] if held else None

    def invalid_for(self, probe: str, begins: Any, ends: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell which windows touch an interval that is invalid for a probe (touching ends count)."""
        mask = np.zeros(len(begins), dtype=bool)
        times = self.invalid_times
        for start, stop, tags in zip(times["start_time"], times["stop_time"], times["tags"], strict=True):
            if "all_probes" in tags or probe in tags:
                mask |= (begins <= stop) & (ends >= start)
        return mask


class IndexedSession(IndexedStimuli):
    """A session whose index is that of the file that is open.

    Parameters
    ----------
    index
        The session's index.
    spikes
        The spikes of its file.
    """

    def __init__(self, index: SessionIndex, spikes: PlacedSpikes) -> None:
        super().__init__(index)
        self.spikes = spikes

    def held(self, unit_ids: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell which units the file holds."""
        return np.isin(unit_ids, self.index.places.unit_ids)

    def batches(self, unit_ids: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
        """Yield units in groups whose spikes fit into the memory set aside; all at once where they stay in the file."""
        if not len(unit_ids) or self.spikes.stays_in_file(unit_ids):
            yield unit_ids
            return
        places = self.index.places
        rows = places.rows(unit_ids)
        group = np.cumsum(places.stops[rows] - places.starts[rows]) // SPIKES_AT_ONCE
        for part in np.unique(group):
            yield unit_ids[group == part]


@contextmanager
def opened(project: ProjectIndex, session_id: int) -> Iterator[IndexedSession]:
    """Open a session's file where it is, with the index of just that version.

    Raises as :meth:`.ProjectIndex.of` does.
    """
    with ExitStack() as stack:
        if project.where(session_id) == "remote":
            stream = stack.enter_context(project.open_stream(session_id))
            index = project.of_version(session_id, stream, version_of_stream(stream))
            if index.places.stored is not None:
                yield IndexedSession(index, PlacedBytes(StreamedBytes(stream.name, stream), index.places))
                return
            source: Any = stream
        else:
            index = project.of(session_id)
            path = project.session_file(session_id)
            source = str(path)
            if not path.is_dir():
                descriptor = os.open(path, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                if FileVersion.of_local(os.fstat(descriptor)) != index.version:
                    msg = f"{path} was replaced while it was opened; ask again"
                    raise CorruptFileError(msg)
                if index.places.stored is not None:
                    yield IndexedSession(index, LocalSpikes(LocalBytes(source, descriptor), index.places, index.marks))
                    return
        yield IndexedSession(index, HdfSpikes(stack.enter_context(open_reader(source)), index.places))


def session_of(project: ProjectIndex, session_id: int) -> EcephysSession:
    """Return a session of the project with all its units, from the cache or streamed.

    Raises as :meth:`.ProjectIndex.of` does.
    """
    from allen_ecephys.session.session import EcephysSession

    from ..index.project_index import missing_session

    where = project.where(session_id)
    if where == "missing":
        raise missing_session(session_id, project.session_file(session_id), project.sessions.files.remote)
    remote = where == "remote"
    source: Any = project.sessions.session_stream(session_id) if remote else project.session_file(session_id)
    companions = companions_of(project.sessions, session_id, stream=remote)
    return EcephysSession(
        str(source) if isinstance(source, Path) else source, unit_filter=UnitFilter.none(), companions=companions
    )
