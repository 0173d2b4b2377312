"""What stages cost, by what was measured: seconds, memory and disk for a probe of some channels and some length.

The records of stages that ran say what they cost. Where there is none for a stage, what was measured on a simulated
recording stands in, which says less about another machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Size:
    """Length (s) and channels of what a stage works on; of a session, those of its probes together."""

    seconds: float
    channels: float

    @property
    def work(self) -> float:
        """Seconds times channels."""
        return self.seconds * self.channels


@dataclass(frozen=True)
class Cost:
    """What a stage costs: seconds, bytes of memory at its peak, and bytes that it leaves."""

    seconds: float
    memory: float
    disk: float


@dataclass(frozen=True)
class Rate:
    """What a stage costs per second and channel of recording, and whatever the recording.

    Attributes
    ----------
    seconds, disk
        Per second and channel.
    memory
        Bytes per channel.
    fixed_seconds, fixed_memory
        Of starting, compiling and libraries.
    """

    seconds: float
    disk: float
    memory: float
    fixed_seconds: float = 0.0
    fixed_memory: float = 4e8

    def of(self, size: Size) -> Cost:
        """Return what a recording of this size costs."""
        return Cost(
            self.fixed_seconds + self.seconds * size.work,
            self.fixed_memory + self.memory * size.channels,
            self.disk * size.work,
        )


def rates_of(records: Iterable[tuple[str, Size, Mapping[str, Any]]]) -> dict[str, Rate]:
    """Return what stages cost by records of stages that ran: (stage, size, manifest); the median of each stage's.

    Time is taken to grow with length and channels, so that short recordings overrate long ones: what is fixed counts
    as if it grew, too.
    """
    found: dict[str, list[tuple[float, float, float]]] = {}
    for stage, size, manifest in records:
        cost = manifest.get("cost") or {}
        if "seconds" not in cost or not size.work:
            continue
        linked = manifest["report"].get("linked", ())  # files of another stage, which take no room here
        left = sum(facts["size"] for name, facts in manifest["outputs"].items() if name not in linked)
        found.setdefault(stage, []).append(
            (cost["seconds"] / size.work, left / size.work, float(cost["peak_memory_bytes"]))
        )
    return {
        stage: Rate(
            seconds=statistics.median(seconds for seconds, _, _ in rows),
            disk=statistics.median(disk for _, disk, _ in rows),
            memory=0.0,
            fixed_memory=max(memory for _, _, memory in rows),
        )
        for stage, rows in found.items()
    }


#: Seconds of one core, where no record says more: measured on simulated rigs of 16 to 128 channels, a minute or two.
MEASURED: Final = {
    "depth_estimation": Rate(seconds=1e-5, disk=0.0, memory=2e5, fixed_seconds=3.0),
    "median_subtraction": Rate(seconds=4e-4, disk=62_500.0, memory=2e5, fixed_seconds=1.0),
    "sorting": Rate(seconds=3.5e-3, disk=500.0, memory=1.5e6, fixed_seconds=5.0),
    "double_counted_spikes": Rate(seconds=4e-5, disk=50.0, memory=3e5, fixed_seconds=0.1),
    "mean_waveforms": Rate(seconds=7e-5, disk=50.0, memory=1e6, fixed_seconds=0.1),
    "noise_units": Rate(seconds=1e-5, disk=1.0, memory=1e5, fixed_seconds=0.1),
    "features": Rate(seconds=1.2e-4, disk=1000.0, memory=1e6, fixed_seconds=0.2),
    "units": Rate(seconds=1.5e-3, disk=1.0, memory=1e6, fixed_seconds=1.0),
    "lfp": Rate(seconds=1e-4, disk=800.0, memory=3e5, fixed_seconds=1.5),
    "whole_session": Rate(seconds=1e-5, disk=300.0, memory=3e5, fixed_seconds=4.0),
    "stimulus_metrics": Rate(seconds=5e-4, disk=1.0, memory=3e5, fixed_seconds=1.0),
}
