"""Known tuning is recovered, the better the more spikes there are; and the example of a metric of one's own runs."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from allen_ecephys.processing.simulation import write_session

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def summary():
    recover = runpy.run_path(str(ROOT / "benchmarks" / "stimulus_metrics_recovery.py"))["recover"]
    return recover(40, peak_rates=(1.0, 30.0)).set_index(["definition", "peak_rate"])


@pytest.mark.parametrize("definition", ["release", "corrected"])
@pytest.mark.parametrize(
    ("peak_rate", "limits"),
    [
        # about 330 spikes during gratings, 150 during gabors, 60 during the contrast stimulus
        (1.0, {"wrong direction": 0.2, "g_osi": 0.08, "centre (degrees)": 5, "not significant": 0.1}),
        # thirty times as many
        (
            30.0,
            {
                "wrong direction": 0,
                "wrong temporal frequency": 0,
                "g_osi": 0.015,
                "c50 (octaves)": 0.35,
                "centre (degrees)": 3,
                "area (relative)": 0.05,
                "width (relative)": 0.15,
                "not significant": 0,
            },
        ),
    ],
)
def test_known_tuning_is_recovered(summary, definition: str, peak_rate: float, limits: dict[str, float]) -> None:
    found = summary.loc[(definition, peak_rate)]
    assert {name: found[name] for name, limit in limits.items() if not found[name] <= limit} == {}


def test_the_corrected_definition_recovers_more(summary) -> None:
    released, corrected = summary.loc[("release", 30.0)], summary.loc[("corrected", 30.0)]
    assert corrected["missing c50 (octaves)"] < 0.1 < released["missing c50 (octaves)"]  # directions of 180 and more
    assert corrected["width (relative)"] < 0.04 < released["width (relative)"]  # a fit without baseline is too wide
    few_released, few_corrected = summary.loc[("release", 1.0)], summary.loc[("corrected", 1.0)]
    assert few_corrected["area (relative)"] < few_released["area (relative)"]  # smoothing in integers loses spikes


def test_the_example_adds_a_metric(tmp_path: Path) -> None:
    example = ROOT / "examples" / "add_a_metric.py"
    text = example.read_text()
    metric_lines = text[text.index("@metric") : text.index("\n\nif __name__")].strip().splitlines()
    assert len(metric_lines) < 15
    write_session(tmp_path / "session.nwb", scale=0.02, n_units=40, seed=3, eye_tracking=False)
    command = [sys.executable, example, tmp_path / "session.nwb"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "adaptation_fl" in done.stdout
