"""From what a recorder leaves of a probe of each kind to a session, and what became of its true units.

Slow; ``pytest -m slow tests/processing/stages/test_every_probe.py --log-cli-level=INFO`` says the rows of the table in
``docs/what_can_be_read.md``.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.cli import main
from allen_ecephys.processing.readers import open_bands
from allen_ecephys.processing.simulation import score_phy_folder
from allen_ecephys.processing.simulation.raw import SimulatedProbe, TrainModel, write_probes
from allen_ecephys.processing.simulation.raw.several_probes import Recorder

pytest.importorskip("probeinterface")

logger = logging.getLogger(__name__)

LARGE = (100.0, 300.0)
PROBES = {
    "1.0": SimulatedProbe("NP1000", n_channels=128, n_units=10, amplitude_range=LARGE),
    "1.0, sites 192 to 575": SimulatedProbe("NP1000", sites=range(192, 576), n_units=12, amplitude_range=LARGE),
    "2.0": SimulatedProbe("NP2003", n_channels=128, n_units=10, amplitude_range=LARGE),
    "2.0, four shanks": SimulatedProbe("NP2013", n_channels=160, n_units=10, amplitude_range=LARGE),
    "Ultra": SimulatedProbe("NP1100", n_channels=192, n_units=5, amplitude_range=LARGE),
}
#: Least share of true units that are found with an accuracy of 0.8, and that the session's default filter keeps.
LEAST_FOUND = 0.8
#: All units of an Ultra probe's small patch overlap: two that fire at once may become a unit of their own.
MOST_FALSE = dict.fromkeys(PROBES, 1) | {"Ultra": 2}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recorder", ["spikeglx", "open_ephys"])
@pytest.mark.parametrize("kind", PROBES)
def test_true_units_are_found_on_every_probe(kind: str, recorder: Recorder, tmp_path: Path) -> None:
    """Spikes of 20 s; in Open Ephys's folder another probe lies beside it."""
    probe = "imec0" if recorder == "spikeglx" else "ProbeB"
    beside = {} if recorder == "spikeglx" else {"ProbeA": SimulatedProbe("NP2003", n_channels=8, n_units=1)}
    truth = write_probes(
        tmp_path / "raw", beside | {probe: PROBES[kind]}, recorder=recorder, duration=20.0, seed=5,
        trains=TrainModel(rate_range=(8.0, 20.0)),
    )[probe]  # fmt: skip
    done = CliRunner().invoke(main, ["process", "run", str(tmp_path / "raw"), str(tmp_path / "out"), "--probe", probe])
    assert done.exit_code == 0, done.output
    score = score_phy_folder(tmp_path / "out" / "sorting", truth)
    with EcephysSession(tmp_path / "out" / "session" / "session.nwb", unit_filter=UnitFilter.none()) as session:
        everything, channels = session.units, session.channels
        good = everything[everything["quality"] == "good"]
        times = session.spike_times
        assert all(np.all(np.diff(times[unit]) >= 0) for unit in everything.index)
    highest = open_bands(tmp_path / "raw", stream=probe).spike_band.geometry[:, 1].max()
    row = (kind, recorder, truth.n_channels, len(truth.units), score.n_well_found, len(score.false_positive_units))
    logger.info("%s\n| %s |", done.output, " | ".join(map(str, (*row, len(score.redundant_units), len(good)))))
    assert len(score.units) == len(truth.units)
    assert score.n_well_found >= LEAST_FOUND * len(truth.units)
    assert len(score.false_positive_units) <= MOST_FALSE[kind]
    assert channels["probe_vertical_position"].max() <= highest
