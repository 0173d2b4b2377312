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
    """Length (s) and channels of what a stage works on; of a session, those of its probes together.

    ``compressed`` says that raw samples are stored so, and inflated by whoever reads them.
    """

    seconds: float
    channels: float
    compressed: bool = False

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
    channel_seconds
        Per channel, however long the recording: of looking at excerpts, of learning templates.
    fixed_seconds, fixed_memory
        Of starting, compiling and libraries.
    """

    seconds: float
    disk: float
    memory: float
    channel_seconds: float = 0.0
    fixed_seconds: float = 0.0
    fixed_memory: float = 4e8

    def of(self, size: Size) -> Cost:
        """Return what a recording of this size costs."""
        return Cost(
            self.fixed_seconds + self.channel_seconds * size.channels + self.seconds * size.work,
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
            (cost["seconds"] / size.work, left / size.work, float(cost.get("peak_memory_bytes") or 0.0))
        )
    return {
        stage: Rate(
            seconds=statistics.median(seconds for seconds, _, _ in rows),
            disk=statistics.median(disk for _, disk, _ in rows),
            memory=0.0 if any(memory for _, _, memory in rows) else MEASURED[stage].memory,
            fixed_memory=max(memory for _, _, memory in rows) or MEASURED[stage].fixed_memory,
        )
        for stage, rows in found.items()
    }


#: Seconds of one core, where no record says more: of simulated probes of 384 channels and 80 neurons, 1, 20 and (less
#: what inflating took) 66 minutes, and of 192 channels and 40 neurons (``benchmarks/whole_session.py``). With more
#: neurons sorting, and what comes after it, cost more. Sorting is of 1 and 66 minutes: the 20 were on a busy machine.
MEASURED: Final = {
    "depth_estimation": Rate(seconds=5e-5, disk=0.2, memory=1e6, channel_seconds=0.03, fixed_seconds=0.5),
    "median_subtraction": Rate(seconds=8e-5, disk=0.0, memory=2e5),
    "sorting": Rate(seconds=1.65e-3, disk=570.0, memory=1.6e6, channel_seconds=0.17, fixed_seconds=10.0),
    "double_counted_spikes": Rate(seconds=7e-6, disk=25.0, memory=4e5, fixed_seconds=1.0),
    "mean_waveforms": Rate(seconds=5.8e-5, disk=90.0, memory=4e5, fixed_seconds=0.5),
    "noise_units": Rate(seconds=1e-6, disk=0.1, memory=4e5, fixed_seconds=0.1),
    "features": Rate(seconds=1.1e-4, disk=400.0, memory=7e5),
    "units": Rate(seconds=1.5e-5, disk=0.1, memory=8e5, fixed_seconds=0.6),
    "lfp": Rate(seconds=9.2e-5, disk=640.0, memory=1.3e6, fixed_seconds=1.0),
    "whole_session": Rate(seconds=5e-6, disk=90.0, memory=2e5, fixed_seconds=2.0),
    "stimulus_metrics": Rate(seconds=1e-6, disk=0.2, memory=2e5, fixed_seconds=0.5),
}
#: What it adds to read a compressed spike band once (``benchmarks/compressed.py``), and how often stages read the raw
#: band (``benchmarks/whole_session.py --compress``), always or only where the band less its medians is not written.
INFLATING: Final = Rate(seconds=3.3e-4, disk=0.0, memory=0.0, fixed_memory=0.0)
#: Probe and session read the synchronization line that lies in the band's file.
READS_RAW: Final = {"median_subtraction": 1.2, "lfp": 0.8, "whole_session": 0.9}
READS_BAND: Final = {"sorting": 2.0, "double_counted_spikes": 0.5, "mean_waveforms": 0.5, "features": 1.1}
#: Seconds beside the stages: workers start, files are looked at, the page is drawn.
AROUND_STAGES: Final = 15.0
#: What it adds to write the band less its medians (and to digest it), on a disk that takes 0.3 GB a second.
WRITING_MEDIANS: Final = Rate(seconds=3e-4, disk=60_000.0, memory=0.0)
