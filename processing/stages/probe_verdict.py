"""Whether a probe's processing went well, at a glance: good, to be looked at, or bad, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from .probe_outputs import ProbeOutputs
from .session_status import StageStatus

Word = Literal["good", "look", "bad"]

#: A probe is to be looked at beyond these, and bad beyond the second: share of masked channels.
MASKED_SHARE, MOST_MASKED = 0.1, 0.5
#: Events of its clock lie farther off (us), its tissue moved farther (um), more of its samples are saturated.
RESIDUAL_US, MOVED_UM, SATURATED_SHARE = 1000.0, 50.0, 1e-3
#: Fewer of its neurons pass the default filter than this; in the release two in five units do.
PASSING_SHARE: Final = 0.1


@dataclass(frozen=True)
class Verdict:
    """What is to be thought of a probe.

    Attributes
    ----------
    word
        ``good``, ``look`` (at the reasons) or ``bad`` (nothing to be used without mending).
    reasons
        Why it is not good; for a good one, what it yields.
    """

    word: Word
    reasons: tuple[str, ...]


def verdict(probe: ProbeOutputs, clock: Mapping[str, Any], states: Sequence[StageStatus]) -> Verdict:
    """Judge a probe by what its stages left, by its clock (empty if not known), and by the states of its stages."""
    bad = [*_failures(states), *_too_little(probe)]
    look = [*_unfinished(states), *_oddities(probe), *_of_clock(clock)]
    if bad or look:
        return Verdict("bad" if bad else "look", (*bad, *look))
    return Verdict("good", (f"{int(probe.passing.sum())} of {len(probe.passing)} units pass the default filter",))


def _failures(states: Sequence[StageStatus]) -> list[str]:
    return [f"{one.stage} failed: {one.reason}" for one in states if one.state == "failed"]


def _unfinished(states: Sequence[StageStatus]) -> list[str]:
    """Return what keeps stages from being done; those that only wait for others are counted."""
    failed = [one for one in states if one.state == "failed"]
    open_ones = [one for one in states if one.state not in {"done", "failed"}]
    waiting = [one for one in open_ones if one.reason.startswith("after ")]
    found = [
        f"{one.stage} is {one.state}{': ' + one.reason if one.reason else ''}"
        for one in open_ones
        if one not in waiting
    ]
    if waiting:
        names = ", ".join(one.stage for one in waiting)
        found.append(f"{names} {'waits' if len(waiting) == 1 else 'wait'} for {'it' if failed or found else 'others'}")
    return found


def _too_little(probe: ProbeOutputs) -> list[str]:
    found = []
    if probe.info is not None and (share := float((~probe.info.mask).mean())) > MOST_MASKED:
        found.append(f"{share:.0%} of its channels are masked")
    if probe.sorted and not probe.sorted["n_spikes"]:
        found.append("the sorter found no spikes")
    if probe.table is not None and not probe.neurons.any():
        found.append(f"none of its {len(probe.table)} units is a neuron's" if len(probe.table) else "it has no units")
    return found


def _oddities(probe: ProbeOutputs) -> list[str]:
    found = []
    if probe.info is not None and MASKED_SHARE < (share := float((~probe.info.mask).mean())) <= MOST_MASKED:
        found.append(f"{share:.0%} of its channels are masked")
    if probe.saturated_share is not None and probe.saturated_share > SATURATED_SHARE:
        found.append(f"{probe.saturated_share:.2%} of its samples are saturated")
    if probe.movement is not None and probe.movement.range_um > MOVED_UM:
        found.append(f"its tissue moved by {probe.movement.range_um:.0f} um")
    neurons, passing = int(probe.neurons.sum()), int(probe.passing.sum())
    if neurons and passing < PASSING_SHARE * neurons:
        found.append(f"{passing} of its {neurons} neurons pass the default filter")
    return found


def _of_clock(clock: Mapping[str, Any]) -> list[str]:
    found = []
    if clock and abs(clock["residual_largest_us"]) > RESIDUAL_US:
        found.append(f"events of its clock lie up to {clock['residual_largest_us']:,.0f} us off")
    if clock and clock["gaps"]:
        found.append(f"its clock has {len(clock['gaps'])} gap{'s' if len(clock['gaps']) > 1 else ''}")
    return found
