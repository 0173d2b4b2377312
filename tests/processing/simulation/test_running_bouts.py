"""What the simulated animal does lasts as long as the session."""

from __future__ import annotations

import numpy as np

from allen_ecephys.processing.simulation.behavior import running_tables


def test_the_animal_runs_until_the_end() -> None:
    """The last rest is one like any other: 55 s from one bout to the next on average, exponentially distributed."""
    stop = 1000.0
    rests = []
    for seed in range(30):
        running, _ = running_tables(stop, np.random.default_rng(seed))
        moving = running["start_time"].to_numpy()[running["velocity"].to_numpy() > 5.0]
        rests.append(stop - moving[-1])
    assert max(rests) < 6 * 55.0
    assert np.mean(rests) < 1.5 * 55.0
