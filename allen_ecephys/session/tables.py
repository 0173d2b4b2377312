"""The foundation of a session: the file behind it, the unit filter, and the tables of units, channels and probes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..units.filter import UnitFilter
from .file import SessionCompanions, SessionFile

if TYPE_CHECKING:
    import pandas as pd

    from ..nwb.opening import BinaryFile


class SessionBase:
    """Opening, closing, filtering, and the tables that describe what was recorded where.

    See :class:`allen_ecephys.session.session.EcephysSession` for the whole.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | BinaryFile,
        *,
        unit_filter: UnitFilter | None = None,
        companions: SessionCompanions | None = None,
    ) -> None:
        self._unit_filter = _checked(UnitFilter() if unit_filter is None else unit_filter)
        self._file = SessionFile(path, companions or SessionCompanions())

    @classmethod
    def from_nwb_path(
        cls,
        path: str | os.PathLike[str] | BinaryFile,
        nwb_version: int = 2,
        api_kwargs: Mapping[str, Any] | None = None,
        *,
        unit_filter: UnitFilter | None = None,
        companions: SessionCompanions | None = None,
    ) -> Self:
        """Return the session of an NWB file; AllenSDK's way to open one.

        Parameters
        ----------
        path
            Path, fsspec URL or open binary file of a session NWB file.
        nwb_version
            Must be 2: files of NWB 1 are not read.
        api_kwargs
            Unit filter under AllenSDK's names, such as ``{"presence_ratio_minimum": None}``.
        unit_filter
            The same as a :class:`UnitFilter`; not both.
        companions
            What a project cache knows beyond the file.

        Raises
        ------
        ValueError
            For another NWB version, or a filter given twice.
        UnknownNameError
            For a name in `api_kwargs` that is no filter.
        """
        if nwb_version != 2:
            msg = f"only NWB 2 files are read; got nwb_version={nwb_version!r}"
            raise ValueError(msg)
        if api_kwargs and unit_filter is not None:
            msg = "give the unit filter once: as unit_filter, or under AllenSDK's names in api_kwargs"
            raise ValueError(msg)
        if api_kwargs:
            unit_filter = UnitFilter.from_allensdk(api_kwargs)
        return cls(path, unit_filter=unit_filter, companions=companions)

    # --- the file ----------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Path or URL of the session's file."""
        return self._file.reader.name

    def close(self) -> None:
        """Close the file, for all views of it. What was read stays usable; more raises ClosedSessionError."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # What was read is read again: a pickle holds the path, not the data.
        return {"_file": self._file, "_unit_filter": self._unit_filter}

    # --- units, channels, probes -------------------------------------------------------------------------------

    @property
    def unit_filter(self) -> UnitFilter:
        """The filter that decides which units are shown."""
        return self._unit_filter

    def with_units(self, unit_filter: UnitFilter) -> Self:
        """Return a view of the same open file that shows the units passing another filter.

        Views share the file handle and everything read from it; closing one closes all.
        """
        view = object.__new__(type(self))
        view.__dict__.update({"_file": self._file, "_unit_filter": _checked(unit_filter)})
        return view

    @cached_property
    def _units(self) -> pd.DataFrame:
        from ..units.table import shown_units

        return shown_units(self._file.units, self._unit_filter)

    @cached_property
    def _channels(self) -> pd.DataFrame:
        from ..units.table import shown_channels

        return shown_channels(self._file.channels, self._unit_filter)

    @property
    def units(self) -> pd.DataFrame:
        """Units that pass the filter, by probe and position on it; index ``unit_id``.

        Columns: those of the file (quality metrics, ``waveform_*`` features; each is documented in
        :data:`allen_ecephys.nwb.layout.UNIT_COLUMNS`), those of the unit's peak channel (see :attr:`channels`), its
        probe's (``probe_description``, ``location``, ``probe_sampling_rate``, ``probe_lfp_sampling_rate`` in Hz,
        ``probe_has_lfp_data``), and the stimulus metrics where a project cache gives them. ``quality`` and
        ``valid_data`` only where the filter has ``valid_only=False``.
        """
        return handed_out(self._units)

    @property
    def channels(self) -> pd.DataFrame:
        """Recording channels; index ``id``. Those without valid data only where the filter has ``valid_only=False``.

        Columns: ``filtering``; ``probe_channel_number`` (0 to 383), ``probe_horizontal_position`` and
        ``probe_vertical_position`` (um), ``probe_id``; ``structure_acronym`` (of the file, without the substructure),
        ``ecephys_structure_id`` and ``ecephys_structure_acronym`` (of the project cache, else of the file; missing
        outside the brain), and the CCF coordinates (um, NaN where not registered). Released NWB files repeat the
        dorsal-ventral coordinate as the left-right one; it is NaN then, unless a project cache knows it.
        """
        return handed_out(self._channels)

    @property
    def probes(self) -> pd.DataFrame:
        """Probes; index ``id``; description, location, sampling_rate and lfp_sampling_rate (Hz), has_lfp_data."""
        return handed_out(self._file.probes)

    @property
    def num_units(self) -> int:
        """Number of units shown."""
        return len(self._units)

    @property
    def num_channels(self) -> int:
        """Number of channels shown."""
        return len(self._channels)

    @property
    def num_probes(self) -> int:
        """Number of probes."""
        return len(self._file.probes)

    @property
    def structure_acronyms(self) -> list[Any]:
        """Structures of the channels in order of appearance; NaN stands for channels outside the brain."""
        acronyms = self._channels["ecephys_structure_acronym"].to_numpy(dtype=object, na_value=np.nan)
        return list(dict.fromkeys(np.nan if a != a else a for a in acronyms))

    @property
    def structurewise_unit_counts(self) -> pd.Series[int]:
        """Number of units shown in each structure, most first; units outside the brain are not counted."""
        return self._units["ecephys_structure_acronym"].value_counts()

    def hidden_units(self) -> pd.Series[int]:
        """Return how many units of the file fail each bound of the filter; a unit can fail several."""
        import pandas as pd

        failed = {name: int(mask.sum()) for name, mask in self._unit_filter.failures(self._file.units).items()}
        return pd.Series(failed, dtype="int64", name="units")

    def _why_hidden(self, unit_id: int) -> str:
        unit = self._file.units.loc[[unit_id]]
        columns = {
            "presence_ratio_minimum": "presence_ratio",
            "isi_violations_maximum": "isi_violations",
            "amplitude_cutoff_maximum": "amplitude_cutoff",
            "valid_only": "quality",
            "in_brain_only": "ecephys_structure_acronym",
        }
        reasons = [
            f"{name} (its {columns[name]} is {unit[columns[name]].iloc[0]})" if columns[name] in unit else name
            for name, failed in self._unit_filter.failures(unit).items()
            if failed[0]
        ]
        return f"it fails {', '.join(reasons)}. session.with_units(UnitFilter.none()) shows every unit"

    def channel_structure_intervals(
        self, channel_ids: Any
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, np.dtype[np.int64]]]:
        """Return runs of equal structure along channels, in the order in which they are given.

        Parameters
        ----------
        channel_ids
            Ids of channels, usually along one probe; a UserWarning says so where they are of several.

        Returns
        -------
        labels
            Acronym of each run, NaN outside the brain.
        intervals
            Where each run begins, from 0, and the number of channels: one longer than `labels`.
        """
        from ..units.structures import structure_intervals

        # Channels without valid spike data too: the LFP has some of them.
        labels, intervals, n_probes = structure_intervals(self._file.channels, channel_ids)
        if n_probes > 1:
            import warnings

            msg = f"structure intervals run across channels of {n_probes} probes; give the channels of one"
            warnings.warn(msg, UserWarning, stacklevel=2)
        return labels, intervals


def handed_out(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame that its receiver may change without changing the session's own."""
    import pandas as pd

    # pandas 3 copies what is written to, when it is written to.
    return frame.copy(deep=int(pd.__version__.split(".")[0]) < 3)


def _checked(unit_filter: object) -> UnitFilter:
    if not isinstance(unit_filter, UnitFilter):
        msg = f"unit_filter must be a UnitFilter, such as UnitFilter(presence_ratio_minimum=None); got {unit_filter!r}"
        raise TypeError(msg)
    return unit_filter
