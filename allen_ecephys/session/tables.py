"""What was recorded where: the units and channels that a filter shows, and what it hides."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..units.filter import UnitFilter

if TYPE_CHECKING:
    import pandas as pd

    from .file import SessionFile


class SessionTables:
    """Units and channels of a session file as one filter shows them.

    Frames are the session's own: they are handed on, not changed.
    """

    def __init__(self, file: SessionFile, unit_filter: UnitFilter) -> None:
        self._file = file
        self._unit_filter = unit_filter

    @cached_property
    def units(self) -> pd.DataFrame:
        """The units that pass the filter."""
        from ..units.table import shown_units

        return shown_units(self._file.units, self._unit_filter)

    @cached_property
    def channels(self) -> pd.DataFrame:
        """The channels; those without valid data only where the filter shows them."""
        from ..units.table import shown_channels

        return shown_channels(self._file.channels, self._unit_filter)

    @property
    def structure_acronyms(self) -> list[Any]:
        """Structures of the channels in order of appearance, NaN for outside the brain."""
        acronyms = self.channels["ecephys_structure_acronym"].to_numpy(dtype=object, na_value=np.nan)
        return list(dict.fromkeys(np.nan if a != a else a for a in acronyms))

    @property
    def structurewise_unit_counts(self) -> pd.Series[int]:
        """Number of units shown in each structure."""
        return self.units["ecephys_structure_acronym"].value_counts()

    def hidden_units(self) -> pd.Series[int]:
        """Return how many units fail each bound."""
        import pandas as pd

        failed = {name: int(mask.sum()) for name, mask in self._unit_filter.failures(self._file.units).items()}
        return pd.Series(failed, dtype="int64", name="units")

    def why_hidden(self, unit_id: int) -> str:
        """Say by which bounds a unit of the file is hidden, and how to see it."""
        unit = self._file.units.loc[[unit_id]]
        columns = {
            "presence_ratio_minimum": "presence_ratio",
            "isi_violations_maximum": "isi_violations",
            "amplitude_cutoff_maximum": "amplitude_cutoff",
            "valid_only": "quality",
            "in_brain_only": "ecephys_structure_acronym",
            "structures": "ecephys_structure_acronym",
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
        """Return runs of equal structure along channels (:func:`.structures.structure_intervals`)."""
        from ..units.structures import structure_intervals

        # Channels without valid spike data too: the LFP has some of them.
        labels, intervals, n_probes = structure_intervals(self._file.channels, channel_ids)
        if n_probes > 1:
            import warnings

            msg = f"structure intervals run across channels of {n_probes} probes; give the channels of one"
            warnings.warn(msg, UserWarning, stacklevel=3)
        return labels, intervals


def handed_out(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame that its receiver may change without changing the session's own."""
    import pandas as pd

    # pandas 3 copies what is written to, when it is written to.
    return frame.copy(deep=int(pd.__version__.split(".")[0]) < 3)
