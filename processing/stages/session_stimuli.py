"""What was shown in a session, and how the animal ran: from the pickle of the stimulus computer, or a plain table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..behavior import running_speed
from ..packaging.session_description import SessionDescription
from ..stimulus_table import (
    monitor_frame_times,
    open_stimulus_pickle,
    presentations_of_pickle,
    read_presentations,
)
from ..stimulus_table.stimulus_pickles import StimulusPickle
from ..synchronization import SyncFile

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Shown:
    """What says what was shown, and when.

    Attributes
    ----------
    told
        The session description.
    sync
        The sync file, or None.
    pickle
        That of the stimulus computer, or None.
    """

    told: SessionDescription
    sync: SyncFile | None
    pickle: StimulusPickle | None

    @classmethod
    def of(cls, told: SessionDescription, sync: SyncFile | None) -> Shown:
        """Open the stimulus pickle, where the session has one and a sync file saw its frames."""
        pickle = None if told.stimulus is None or sync is None else open_stimulus_pickle(told.stimulus)
        return cls(told, sync, pickle)

    @property
    def is_told(self) -> bool:
        """Whether anything says what was shown."""
        return self.pickle is not None or self.told.presentations is not None

    def presentations(self, stop: float) -> pd.DataFrame:
        """Return the presentations; where nothing tells of any, a spontaneous one that ends at `stop` (s)."""
        import pandas as pd

        lag = self.told.monitor_lag
        if self.pickle is not None and self.sync is not None:
            return presentations_of_pickle(self.pickle, monitor_frame_times(self.sync, monitor_lag=lag))
        if self.told.presentations is not None:
            seen = self.sync is not None and self.sync.has("frames")
            frames = monitor_frame_times(self.sync, monitor_lag=lag) if self.sync is not None and seen else None
            return read_presentations(self.told.presentations, frames)
        row = {"start_time": [0.0], "stop_time": [stop], "stimulus_name": ["spontaneous"]}
        return pd.DataFrame({**row, "stimulus_block": [np.nan]})

    def running(self) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
        """Return running speed and the wheel's raw signals, as far as the session has them."""
        rotation = None if self.pickle is None else self.pickle.encoder("dx")
        if self.pickle is None or self.sync is None or rotation is None:
            return None, None
        return running_speed(
            self.sync.rising("frames"), rotation,
            signal_voltage=self.pickle.encoder("vsig"), supply_voltage=self.pickle.encoder("vin"),
        )  # fmt: skip
