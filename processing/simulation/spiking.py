"""The spikes of a population: what happens to every unit when, and the trains that follow, unit by unit, on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allen_ecephys.progress import progress_bar

from .computed_rows import ComputedRows
from .population import ConditionResponses

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]


class Timeline:
    """The session cut into segments of constant condition, and what modulates all units in each.

    A segment is a presentation, a light pulse, or a gap; shared fluctuations (attention, arousal) and running scale the
    rates of the whole population, each unit by its own measure.
    """

    def __init__(
        self,
        presentations: pd.DataFrame,
        pulses: pd.DataFrame,
        running: pd.DataFrame,
        duration: float,
        rng: np.random.Generator,
    ) -> None:
        import pandas as pd

        when = {"start_time", "stop_time", "stimulus_block"}
        parameters = [name for name in presentations.columns if name not in when]
        shown = presentations[parameters]
        condition = shown.groupby(parameters, dropna=False, sort=False).ngroup().to_numpy()
        self.responses = ConditionResponses(shown.drop_duplicates().reset_index(drop=True))
        light = pulses[["start_time", "stop_time"]].to_numpy()
        starts = np.concatenate([presentations["start_time"].to_numpy(), light[:, 0]])
        stops = np.concatenate([presentations["stop_time"].to_numpy(), light[:, 1]])
        what = np.concatenate([condition, -2 - np.arange(len(pulses))])
        self.edges, self.what = _segments(starts, stops, what, duration)
        self.level = pulses["level"].to_numpy(np.float64)
        self.is_pulse = (pulses["stimulus_name"] == "pulse").to_numpy()
        middle = (self.edges[1:] + self.edges[:-1]) / 2.0
        speed = np.interp(middle, running["start_time"], running["velocity"]).clip(0.0, 50.0)
        self.running = speed / 20.0
        steps = np.arange(0.0, duration + 1.0)
        slow = pd.Series(rng.normal(0.0, 1.0, len(steps))).ewm(halflife=3.0).mean().to_numpy()
        self.state = np.interp(middle, steps, slow / slow.std())

    def rates(self, unit: Any) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Return edges, base, response, depth and frequency of every segment, for :func:`~.spike_trains.thin`."""
        by_condition, depth_of = self.responses.of_unit(unit)
        shown = self.what >= 0
        known = np.maximum(self.what, 0)
        response = np.where(shown, by_condition[known], 0.0)
        depth = np.where(shown, depth_of[known], 0.0)
        gain = np.exp(0.15 * self.state) * np.clip(1.0 + unit.running_gain * self.running, 0.1, 4.0)
        if unit.optotagged:
            light = self.what <= -2
            pulse = -2 - self.what[light]
            response[light] = np.where(self.is_pulse[pulse], 150.0, 25.0) * self.level[pulse]
        edges = self.edges.copy()
        edges[1:-1] += unit.latency
        # Light reaches the cell without a retina in between.
        edges[1:-1][(self.what[1:] <= -2) | (self.what[:-1] <= -2)] += 0.002 - unit.latency
        middle = (edges[1:] + edges[:-1]) / 2.0
        gain *= (middle >= unit.active_from) & (middle <= unit.active_until)
        frequency = np.where(shown, self.responses.frequency[known], 0.0)
        return np.minimum(edges, edges[-1]), unit.base_rate * gain, response * gain, depth, frequency


def _segments(
    starts: Floats, stops: Floats, what: npt.NDArray[np.int64], duration: float
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the edges of all intervals and of the gaps (marked -1) between them, from 0 to `duration`."""
    before = np.concatenate([[0.0], stops])
    after = np.concatenate([starts, [duration]])
    gap = after - before > 1e-6
    # Gap, interval, gap, interval ..., then drop the gaps that are none.
    keep = np.column_stack([gap, np.ones(len(gap), bool)]).ravel()[:-1]
    begin = np.column_stack([before, after]).ravel()[:-1][keep]
    kind = np.column_stack([np.full(len(gap), -1), np.append(what, -1)]).ravel()[:-1][keep]
    return np.append(begin, duration), kind.astype(np.int64)


def simulate_spikes(spool: Path, truth: pd.DataFrame, timeline: Timeline, seed: int) -> Sequence[Floats]:
    """Simulate every unit into one file, and return what reads it back."""
    from .spike_trains import thin

    ends = [0]
    room = np.empty(200_000)
    units = progress_bar(truth.itertuples(), total=len(truth), desc="Simulating units", unit="unit")
    with spool.open("wb") as file:
        for row, unit in enumerate(units):
            segments = timeline.rates(unit)
            while True:
                rng = np.random.default_rng([seed, 4, row])
                edges, base, response, depth, frequency = segments
                n = thin(
                    *(rng, edges, base, response, unit.sustained, depth, frequency),
                    *(unit.refractory, unit.contamination, room),
                )
                if n >= 0:
                    break
                room = np.empty(2 * len(room))
            room[:n].tofile(file)
            ends.append(ends[-1] + n)
    return SpooledSpikes(spool, np.array(ends))


class SpooledSpikes(ComputedRows):
    """Spike times of many units in one file of float64, read one unit at a time."""

    def __init__(self, path: Path, ends: npt.NDArray[np.int64]) -> None:
        self._path, self._ends = path, ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    def row(self, k: int) -> Floats:
        """Return the spike times of the k-th unit."""
        start, stop = (int(end) for end in self._ends[k : k + 2])
        return np.fromfile(self._path, dtype=np.float64, count=stop - start, offset=8 * start)
