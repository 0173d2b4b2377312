"""Quality and waveform metrics of simulated units, distributed like those of the release.

Drawn, not computed, except for what the spikes themselves decide (``firing_rate``, ``presence_ratio``). About 70 % of
units are good; of those, each default threshold (presence ratio 0.95, ISI violations 0.5, amplitude cutoff 0.1) is
missed by some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]

#: Fractions of units: artefactual waveforms, lost for a part of the session, contaminated, cut by the threshold.
NOISE = 0.27
LOST = 0.22
CONTAMINATED = 0.2
CUT = 0.3

#: Bins over the session in which a unit must spike to be present.
_PRESENCE_BINS = 100


def draw_metrics(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw ``quality`` and every metric that does not follow from the spikes; columns named as in the units table."""
    import pandas as pd

    noise = rng.random(n) < NOISE
    # A noise unit and one unit for each threshold come first, so that a population of any size has all of them.
    noise[:5] = [True, False, False, False, False][: len(noise[:5])]
    cut = rng.random(n) < CUT
    cut[1:4] = [True, False, False][: len(cut[1:4])]
    contaminated = rng.random(n) < CONTAMINATED
    contaminated[1:4] = [False, True, False][: len(contaminated[1:4])]
    amplitude = np.clip(rng.lognormal(np.log(140.0), 0.5, n), 25.0, 1200.0)
    fast = rng.random(n) < 0.25
    table = {
        "quality": np.where(noise, "noise", "good"),
        "snr": np.clip(amplitude / rng.uniform(30.0, 80.0, n), 0.3, 15.0),
        "isi_violations": np.where(contaminated, rng.uniform(0.51, 5.0, n), rng.beta(0.7, 6.0, n) * 0.5),
        "amplitude_cutoff": np.where(cut, rng.uniform(0.101, 0.5, n), 10.0 ** rng.uniform(-4.0, -1.05, n)),
        "isolation_distance": rng.lognormal(np.log(75.0), 0.6, n),
        "L_ratio": rng.exponential(0.02, n),
        "d_prime": np.clip(rng.normal(4.8, 1.6, n), 0.3, None),
        "nn_hit_rate": rng.beta(6.0, 1.0, n),
        "nn_miss_rate": rng.beta(1.0, 60.0, n),
        "max_drift": rng.gamma(2.5, 14.0, n),
        "cumulative_drift": rng.gamma(3.0, 70.0, n),
        "silhouette_score": np.clip(rng.normal(0.12, 0.09, n), -0.2, 0.6),
        "waveform_duration": np.where(fast, rng.normal(0.27, 0.05, n), rng.normal(0.64, 0.12, n)).clip(0.1, 1.2),
        "waveform_halfwidth": np.where(fast, rng.normal(0.12, 0.02, n), rng.normal(0.2, 0.04, n)).clip(0.05, 0.5),
        "waveform_PT_ratio": rng.lognormal(np.log(0.45), 0.35, n),
        "waveform_repolarization_slope": rng.gamma(4.0, 0.18, n),
        "waveform_recovery_slope": -rng.gamma(3.0, 0.05, n),
        "waveform_amplitude": amplitude,
        "waveform_spread": np.round(rng.gamma(6.0, 12.0, n) / 10.0).clip(1.0, 40.0) * 10.0,
        "waveform_velocity_above": rng.normal(0.1, 0.5, n),
        "waveform_velocity_below": rng.normal(0.0, 0.5, n),
    }
    frame = pd.DataFrame(table)
    # Metrics that need neighbours are undefined for a few units of the release, velocities for many narrow ones.
    for name, fraction in (("isolation_distance", 0.01), ("L_ratio", 0.01), ("waveform_velocity_above", 0.15)):
        frame.loc[rng.random(n) < fraction, name] = np.nan
    frame["contaminated"] = contaminated
    frame["lost"] = rng.random(n) < LOST
    frame.loc[1:3, "lost"] = [False, False, True][: len(frame.loc[1:3])]
    return frame


def active_window(lost: npt.NDArray[np.bool_], duration: float, rng: np.random.Generator) -> Floats:
    """Return the (n, 2) times (s) between which each unit can be recorded: all of the session, or a part of it."""
    n = len(lost)
    start = np.where(lost & (rng.random(n) < 0.5), rng.uniform(0.1, 0.5, n), 0.0)
    stop = np.where(lost & (start == 0.0), rng.uniform(0.4, 0.9, n), 1.0)
    return np.column_stack([start, stop]) * duration


def presence_ratio(times: Floats, duration: float) -> float:
    """Return the share of the session's hundredths with a spike; as in the release it never exceeds 0.99."""
    # The released metric divides the count over 99 bins by 100.
    bins = np.histogram(times, bins=np.linspace(0.0, duration, _PRESENCE_BINS))[0]
    return float((bins > 0).sum() / _PRESENCE_BINS)
