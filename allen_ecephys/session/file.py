"""What all views of one session file share: the handle, and everything read from it that no unit filter changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ClosedSessionError, InvalidTypeError, UnknownIdError, explains_unknown_names
from ..nwb import layout
from ..nwb.columns import whole_numbers
from ..nwb.sources import open_reader
from ..spikes.store import SpikeStore

if TYPE_CHECKING:
    import pandas as pd
    from pynwb import NWBFile

    from ..nwb.opening import BinaryFile
    from ..nwb.reader import NwbReader
    from ..stimulus.presentations import Presentations

logger = logging.getLogger(__name__)


@explains_unknown_names
@dataclass(frozen=True)
class SessionCompanions:
    """What a project cache knows about a session beyond its NWB file; each part is optional.

    Attributes
    ----------
    channels
        Gives a frame (index: channel id) with ``ecephys_structure_id``, ``ecephys_structure_acronym`` and the three
        CCF coordinates. It replaces the file's columns for the channels that it holds.
    unit_metrics
        Gives the analysis metrics of the session's units (index: unit id): ``session.unit_analysis_metrics``.
    lfp_path
        Gives the path or URL of a probe's LFP file, fetching it if needed, or the file open for reading.

    Examples
    --------
    >>> companions = SessionCompanions()  # a project cache fills it; a file alone has none
    >>> EcephysSession("session.nwb", companions=companions).unit_analysis_metrics.shape
    (40, 0)
    """

    channels: Callable[[], pd.DataFrame] | None = None
    unit_metrics: Callable[[], pd.DataFrame] | None = None
    lfp_path: Callable[[int], str | BinaryFile] | None = None

    def __post_init__(self) -> None:
        for name in ("channels", "unit_metrics", "lfp_path"):
            part = getattr(self, name)
            if part is not None and not callable(part):
                msg = f"{name} must be a function that gives it when it is asked for; got {type(part).__name__}"
                raise InvalidTypeError(msg)


class SessionFile:
    """One open session file, shared by the session and its filtered views."""

    def __init__(self, source: Any, companions: SessionCompanions) -> None:
        given: object = companions
        if not isinstance(given, SessionCompanions):
            msg = f"companions must be SessionCompanions, which a project cache makes; got {companions!r:.200}"
            raise InvalidTypeError(msg)
        self.reader = open_reader(source)
        self.companions = companions
        self.lfp_readers: dict[int, NwbReader] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Reopened by path: tables and spikes already read are read again where they are needed.
        return _reopened, (self.reader, self.companions)

    def probe_id(self, probe: int | str) -> int:
        """Return the id of a probe, given that or its name (``"probeA"``)."""
        names = self.probes["description"]
        if isinstance(probe, str) and (names == probe).any():
            return int(names.index[(names == probe).to_numpy()][0])
        if not isinstance(probe, Hashable) or probe not in names.index:
            listed = ", ".join(f"{i} ({name})" for i, name in names.items())
            msg = f"this session has no probe {probe!r}; its probes are {listed}"
            raise UnknownIdError(msg)
        return int(probe)

    def lfp_reader(self, probe_id: int) -> NwbReader:
        """Return the file of a probe's LFP, found and opened once (errors: :func:`.lfp.locate_lfp`)."""
        if self.reader.closed:
            msg = f"the session of {self.reader.name} was closed; open it again to read LFP"
            raise ClosedSessionError(msg)
        if probe_id not in self.lfp_readers:
            from ..signals.lfp import locate_lfp

            if any(self.reader.has(place) for place in layout.places_of_lfp(probe_id)):
                return self.reader  # a file that holds the whole session
            path = locate_lfp(probe_id, self.probes, self.reader.source, self.companions.lfp_path)
            self.lfp_readers[probe_id] = open_reader(path)
        return self.lfp_readers[probe_id]

    def local_lfp_probes(self) -> list[int]:
        """Return the probes whose LFP lies in a file beside the session's."""
        from ..errors import MissingDataError, MissingFileError
        from ..signals.lfp import locate_lfp

        found = []
        for probe in self.probes.index.tolist():
            try:
                path = locate_lfp(probe, self.probes, self.reader.source, None)
            except (MissingDataError, MissingFileError):
                continue
            if isinstance(path, str) and "://" not in path:
                found.append(probe)
        return found

    @cached_property
    def nwbfile(self) -> NWBFile:
        """The file as pynwb sees it, through the same handle."""
        from ..nwb.as_pynwb import read_nwbfile

        return read_nwbfile(self.reader)

    def close(self) -> None:
        """Close the session's file and those of its LFP."""
        for reader in (self.reader, *self.lfp_readers.values()):
            reader.close()

    def optional_text(self, path: str) -> str | None:
        """Return a text of the file, None where the file does not hold it."""
        return self.reader.text(path) if self.reader.has(path) else None

    def subject_attribute(self, name: str) -> Any:
        """Return what the file says of the animal, as a dataset or an attribute; None where it does not."""
        if not self.reader.has(layout.SUBJECT):
            return None
        held = f"{layout.SUBJECT}/{name}"
        return self.reader.text(held) if self.reader.has(held) else self.reader.attribute(layout.SUBJECT, name)

    @cached_property
    def probes(self) -> pd.DataFrame:
        """The probes table."""
        from ..units.table import probes_table

        return probes_table(self.reader)

    @cached_property
    def channels(self) -> pd.DataFrame:
        """All channels, invalid ones too."""
        from ..units.table import channels_table

        return channels_table(self.reader, self.companions.channels)

    @cached_property
    def units(self) -> pd.DataFrame:
        """All units, in the order of the file."""
        from ..units.table import units_table

        return units_table(self.reader, self.channels, self.probes)

    @cached_property
    def unit_metrics(self) -> pd.DataFrame:
        """The published metrics of all units, as far as a project cache or the file gives them; others get NaN."""
        if self.companions.unit_metrics is not None:
            return self.companions.unit_metrics().reindex(self.units.index)
        from ..units.table import metrics_in_file

        return metrics_in_file(self.reader).reindex(self.units.index)

    @cached_property
    def presentations(self) -> Presentations:
        """All presentations, none masked."""
        from ..stimulus.presentations import read_presentations

        return read_presentations(self.reader)

    @cached_property
    def invalid_times(self) -> pd.DataFrame:
        """The invalid intervals."""
        from ..stimulus.presentations import read_invalid_times

        return read_invalid_times(self.reader)

    @cached_property
    def is_invalid(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each presentation touches an invalid interval of the stimulus."""
        from ..stimulus.presentations import invalid_mask

        return invalid_mask(self.presentations.start_time, self.presentations.stop_time, self.invalid_times)

    @cached_property
    def presentation_table(self) -> pd.DataFrame:
        """The typed presentations with all columns, invalid ones masked."""
        return self.presentations.table(self.is_invalid)

    @cached_property
    def legacy_table(self) -> pd.DataFrame:
        """The same in AllenSDK's form."""
        return self.presentations.table(self.is_invalid, legacy=True)

    def unmasked_table(self, legacy: bool) -> pd.DataFrame:
        """Return the presentations, those in invalid times as they were shown."""
        return self.presentations.table(np.zeros(len(self.presentations), dtype=bool), legacy)

    @cached_property
    def conditions(self) -> pd.DataFrame:
        """The stimulus conditions."""
        return self.presentations.conditions()

    @cached_property
    def legacy_conditions(self) -> pd.DataFrame:
        """The same in AllenSDK's form."""
        return self.presentations.conditions(legacy=True)

    @cached_property
    def spikes(self) -> SpikeStore:
        """The spikes of all units."""
        return SpikeStore(self.reader, whole_numbers(self.reader, f"{layout.UNITS}/id"))

    @cached_property
    def warned_of_invalid_spikes(self) -> bool:
        """Log once that spikes in some intervals are invalid; False where there are none."""
        probes = set(self.probes["description"])
        spans = [
            f"{start:.3f} to {stop:.3f} s ({tags[-1]})"
            for start, stop, tags in self.invalid_times[["start_time", "stop_time", "tags"]].itertuples(index=False)
            if "all_probes" in tags or probes & set(tags)
        ]
        if spans:
            _warn_of_invalid_spikes(self.reader.name, tuple(spans))
        return bool(spans)


@cache
def _warn_of_invalid_spikes(name: str, spans: tuple[str, ...]) -> None:
    """Log it: once in a process, however often the file is opened."""
    listed = ", ".join(spans[:5]) + (", ..." if len(spans) > 5 else "")
    logger.warning(
        "spikes of %s are invalid in %d interval(s), see session.invalid_times: %s", name, len(spans), listed
    )


def _reopened(reader: NwbReader, companions: SessionCompanions) -> SessionFile:
    made = SessionFile.__new__(SessionFile)
    made.reader, made.companions, made.lfp_readers = reader, companions, {}
    return made
