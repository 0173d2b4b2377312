"""Which trials show best whether a unit responds: those of one stimulus, and the briefest pulses of light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..stimulus.names import NO_STIMULI

if TYPE_CHECKING:
    import pandas as pd

    from .contents import ReportedSession

#: Stimuli whose onset shows best whether a unit responds, best first; else the one with most presentations is taken.
ONSET_STIMULI = ("flashes", "dot_motion", "drifting_gratings", "drifting_gratings_75_repeats", "static_gratings")
MOST_TRIALS = 150


@dataclass(frozen=True)
class OnsetTrials:
    """Trials around whose onset rates are drawn.

    Attributes
    ----------
    name
        What is shown or done.
    table
        One row a trial, with ``start_time`` and ``stop_time`` (s).
    of
        How many trials there are, of which `table` has some, evenly spread.
    length, before, after
        Median duration of a trial, and how far around its onset is drawn (s).
    is_light
        Pulses of light, not presentations of a stimulus.
    """

    name: str
    table: pd.DataFrame
    of: int
    length: float
    before: float
    after: float
    is_light: bool = False


def onset_trials(session: ReportedSession) -> OnsetTrials | None:
    """Return trials of the stimulus that shows responses best; None where nothing was shown."""
    names = [name for name in session.stimulus_names if name not in NO_STIMULI]
    if not names:
        return None
    table = session.stimulus_presentations
    sizes = table["stimulus_name"].value_counts()
    stimulus = next((name for name in ONSET_STIMULI if name in names), max(names, key=lambda name: int(sizes[name])))
    every = table[table["stimulus_name"] == stimulus]
    trials = every.iloc[np.linspace(0, len(every) - 1, min(MOST_TRIALS, len(every))).astype(int)]
    length = float(np.clip((trials["stop_time"] - trials["start_time"]).median(), 0.1, 3.0))
    return OnsetTrials(stimulus, trials, len(every), length, 0.5 * length, 1.5 * length)


def light_trials(session: ReportedSession) -> OnsetTrials | None:
    """Return the briefest pulses of light, 30 ms at most; None where there are none."""
    if not session.has_optotagging:
        return None
    pulses = session.optogenetic_stimulation_epochs
    length = pulses["stop_time"] - pulses["start_time"]
    pulses = pulses[(length > 0) & (length < 0.03)]
    if not len(pulses):
        return None
    shortest = length[pulses.index].round(3).min()
    brief = pulses[length[pulses.index].round(3) == shortest].sort_values("start_time")
    trials = brief.iloc[np.linspace(0, len(brief) - 1, min(2 * MOST_TRIALS, len(brief))).astype(int)]
    name = f"light pulses of {1000 * shortest:g} ms"
    return OnsetTrials(name, trials, len(brief), float(shortest), 0.02, 0.05, is_light=True)
