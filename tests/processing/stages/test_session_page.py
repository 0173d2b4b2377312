"""What a session's page shows of probes as they come: still and moving, whole and cut short, with and without units."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allen_ecephys.processing.spike_band.probe_info import ProbeInfo
from allen_ecephys.processing.stages import (
    depth_estimation,
    median_subtraction,
    probe_figures,
    probe_outputs,
    sorting,
    units,
)
from allen_ecephys.processing.stages.probe_outputs import ProbeOutputs
from allen_ecephys.processing.stages.probe_verdict import verdict
from allen_ecephys.processing.stages.session_page import _facts, _figures, _stage_row, _warnings
from allen_ecephys.processing.stages.session_status import StageStatus

RATE, N_SAMPLES, BATCH = 30_000.0, 30_000 * 60, 65_536
CLOCK = {
    "drift_ppm": 1.0, "n_matched": 9, "n_probe_events": 9, "residual_largest_us": 10.0, "gaps": [],
}  # fmt: skip


def geometry(n_shanks: int, n_rows: int = 40) -> Any:
    """Two sites a row, 20 um apart; shanks 250 um apart."""
    rows = np.repeat(np.arange(n_rows) * 20.0, 2)
    across = np.tile([0.0, 32.0], n_rows)
    return np.vstack([np.column_stack([across + 250.0 * shank, rows]) for shank in range(n_shanks)])


class Probe:
    """Leaves stages of a probe, with what a test says."""

    def __init__(self, folder: Path, n_shanks: int = 1) -> None:
        self.folder, self.n_shanks, self.places = folder, n_shanks, geometry(n_shanks)
        self.shanks = np.repeat(np.arange(n_shanks), len(self.places) // n_shanks)

    def leave(self, stage: Any, report: dict[str, Any], write: Callable[[Path], None]) -> Probe:
        def work(place: Path) -> dict[str, Any]:
            write(place)
            return report

        stage.run(self.folder, work, inputs=[], parameters={"report": report})
        return self

    def looked(self, *, surface: float | None = 600.0, masked: int = 0, lfp: bool = True) -> Probe:
        n = len(self.places)
        power = np.where(self.places[:, 1] < (surface or 1e9), 4.0, 2.0) if lfp else None
        mask = np.arange(n) >= masked
        heights = self.places[:, 1] - (1e4 if surface is None else surface + 30.0 * self.shanks)
        info = ProbeInfo(np.zeros(n, np.int64), mask, np.full(n, 10.0), 60.0, 70.0, heights_um=heights, air_um=100.0,
                         lfp_log_power=power)  # fmt: skip
        band = {"n_samples": N_SAMPLES, "sampling_rate": RATE, "geometry": self.places.tolist(),
                "shanks": self.shanks.tolist()}  # fmt: skip

        def write(place: Path) -> None:
            info.save(place / depth_estimation.INFO_FILE, self.places)
            (place / depth_estimation.BANDS_FILE).write_text(json.dumps({"spike_band": band, "lfp": None}))

        recording = {"lfp_rate": 2500.0 if lfp else None}
        return self.leave(depth_estimation.STAGE, {"recording": recording}, write)

    def cleaned(self, n_saturated: int = 0) -> Probe:
        name = median_subtraction.STAGE.outputs[0]
        return self.leave(
            median_subtraction.STAGE,
            {"n_saturated": n_saturated},
            lambda place: np.save(place / name, np.zeros((0, 2))),
        )

    def sorted(
        self,
        samples: Any,
        depths: Any,
        across: Any = 0.0,
        drift: Any = None,
        blocks: Any = None,
        sorter: str = "native",
    ) -> Probe:
        def write(place: Path) -> None:
            for name in sorting.STAGE.outputs:
                (place / name).touch()
            np.save(place / "spike_times.npy", np.asarray(samples, np.uint64)[:, None])
            where = np.column_stack([np.broadcast_to(across, np.shape(depths)), depths]).astype(np.float32)
            np.save(place / "spike_positions.npy", where.reshape(-1, 2))
            told = {} if blocks is None else {"drift": {"block_depths_um": blocks, "batch_samples": BATCH}}
            (place / "sorting.json").write_text(json.dumps(told))
            if drift is not None:
                np.save(place / "drift_um.npy", drift)

        return self.leave(sorting.STAGE, {"sorter": sorter, "n_spikes": len(samples)}, write)

    def measured(self, quality: list[str], fails: list[str] | None = None) -> Probe:
        import pandas as pd

        n = len(quality)
        one = np.linspace(0.1, 1.0, n)
        table = pd.DataFrame(
            {
                "quality": quality, "noise_reasons": "", "sorting_label": "good", "fails_bounds": fails or [""] * n,
                "peak_channel": np.arange(n), "firing_rate": 10 * one, "max_drift": one, "snr": one,
                "presence_ratio": one, "isi_violations": 5 * one, "amplitude_cutoff": one / 2,
            },
            index=pd.Index(range(n), name="cluster_id"),
        )  # fmt: skip

        def write(place: Path) -> None:
            table.to_csv(place / units.TABLE)
            (place / units.PERIODS).touch()

        return self.leave(units.STAGE, {"n_units": n}, write)

    @property
    def outputs(self) -> ProbeOutputs:
        return ProbeOutputs(self.folder, "probeA")

    def figures(self, *, with_lfp: bool = True) -> list[dict[str, Any]]:
        return _figures(self.outputs, with_lfp=with_lfp)


def words(figures: list[dict[str, Any]]) -> dict[str, str]:
    return {figure["title"]: figure["words"] for figure in figures}


def pictures(figures: list[dict[str, Any]]) -> list[str]:
    return [figure["title"] for figure in figures if figure["image"]]


def spikes(n: int = 5000, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return np.sort(rng.integers(0, N_SAMPLES, n)), rng.choice([100.0, 300.0, 500.0], n)


def state(stage: str, word: str, reason: str = "") -> StageStatus:
    return StageStatus(f"1/probeA/{stage}", "probeA", stage, word, reason)  # type: ignore[arg-type]


def test_a_good_probe(tmp_path: Path) -> None:
    drift = np.tile([[-3.0, 4.0]], (28, 1))
    drift[:14] = 0.0
    probe = Probe(tmp_path).looked().cleaned().sorted(*spikes(), drift=drift, blocks=[200.0, 600.0])
    probe.measured(["good", "good", "noise"], ["", "presence_ratio", "isi_violations,presence_ratio"])
    assert verdict(probe.outputs, CLOCK, [state("units", "done")]).reasons == ("1 of 3 units pass the default filter",)
    figures = probe.figures()
    assert len(pictures(figures)) == 4
    facts = _facts(probe.outputs, CLOCK)
    assert facts["surface (um from the tip)"] == "600"
    assert facts["moved (um)"] == "4"
    assert facts["neurons that fail presence ratio"] == "1"  # noise is not counted
    assert facts["neurons that fail ISI violations"] == "0"
    moved = probe.outputs.movement
    assert moved is not None
    assert moved.seconds[1] == pytest.approx(1.5 * BATCH / RATE)
    assert moved.depths_um is not None
    assert "at several depths" in words(figures)["Spikes and drift"]


def test_every_spike_is_counted_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shanks, spikes read in parts: the counts are those of all spikes at once."""
    samples, depths = spikes(5003)
    across = np.where(np.arange(5003) % 3 == 0, 10.0, 260.0)
    probe = Probe(tmp_path, n_shanks=2).looked().sorted(samples, depths, across).outputs
    whole = probe.spike_map(30, 40)
    monkeypatch.setattr(probe_outputs, "CHUNK_SPIKES", 700)
    parts = probe.spike_map(30, 40)
    assert whole is not None
    assert parts is not None
    np.testing.assert_array_equal(whole.counts, parts.counts)
    for shank, mine in enumerate((across == 10.0, across == 260.0)):
        edges = whole.time_edges * RATE, whole.depth_edges
        expected, _, _ = np.histogram2d(samples[mine], depths[mine], bins=edges)
        np.testing.assert_array_equal(whole.counts[shank], expected)


def test_shanks_have_surfaces_of_their_own(tmp_path: Path) -> None:
    probe = Probe(tmp_path, n_shanks=3).looked(masked=2).sorted(*spikes(), sorter="kilosort4").measured(["good"] * 4)
    assert [probe.outputs.surface(shank) for shank in range(3)] == pytest.approx([600.0, 630.0, 660.0])
    assert _facts(probe.outputs, {})["surface (um from the tip)"] == "600, 630, 660"
    assert _facts(probe.outputs, {})["moved (um)"] == "not told"
    figures = probe.figures()
    said = words(figures)
    assert "kilosort4 leaves no estimate of drift." in said["Spikes and drift"]
    assert "Each shank has a map" in said["Spikes and drift"]
    assert "Crosses: masked channels." in said["LFP and surface"]
    assert len(pictures(figures)) == 4


def test_what_is_absent_is_said(tmp_path: Path) -> None:
    nothing = Probe(tmp_path / "nothing")
    assert pictures(nothing.figures()) == []
    assert words(nothing.figures()) == {
        "Spikes and drift": "Nothing to show: the stage sorting is not done.",
        "LFP and surface": "Nothing to show: the stage depth_estimation is not done.",
        "Units along the probe": "Nothing to show: the stage units is not done.",
        "Quality": "Nothing to show: the stage units is not done.",
    }
    no_spikes = Probe(tmp_path / "no spikes").looked(surface=None, lfp=False).sorted([], [])
    shown = no_spikes.figures()
    assert pictures(shown) == ["LFP and surface"]
    said = words(shown)
    assert said["Spikes and drift"] == "Nothing to show: the sorter found no spikes."
    assert "no LFP band: all of it is taken to be in the brain. No surface" in said["LFP and surface"]
    assert "no LFP file yet" in said["LFP and surface"]
    assert "No LFP file is written" in words(no_spikes.figures(with_lfp=False))["LFP and surface"]
    no_units = Probe(tmp_path / "no units").looked().measured([])
    assert words(no_units.figures())["Quality"] == "Nothing to show: there are no units."
    assert _facts(no_units.outputs, {})["median SNR"] == ""
    one = (
        Probe(tmp_path / "one").looked().sorted(*spikes(3), drift=np.zeros((28, 1)), blocks=[400.0]).measured(["good"])
    )
    shown = one.figures()
    assert len(pictures(shown)) == 4
    assert "no movement was found" in words(shown)["Spikes and drift"]


@pytest.mark.parametrize(
    ("prepare", "states", "clock", "word", "said"),
    [
        (lambda p: p.looked(masked=20), [], CLOCK, "look", "25% of its channels are masked"),
        (lambda p: p.looked(masked=60), [], CLOCK, "bad", "75% of its channels are masked"),
        (lambda p: p.looked().cleaned(N_SAMPLES // 50), [], CLOCK, "look", "2.00% of its samples are saturated"),
        (lambda p: p.looked().sorted([], []), [], CLOCK, "bad", "the sorter found no spikes"),
        (lambda p: p.looked().measured([]), [], CLOCK, "bad", "it has no units"),
        (lambda p: p.looked().measured(["noise"] * 2), [], CLOCK, "bad", "none of its 2 units is a neuron's"),
        (
            lambda p: p.looked().measured(["good"] * 20, ["presence_ratio"] * 19 + [""]), [], CLOCK, "look",
            "1 of its 20 neurons pass the default filter",
        ),
        (
            lambda p: p.looked().sorted(*spikes(9), drift=np.linspace(0, 80, 28)[:, None]), [], CLOCK, "look",
            "its tissue moved by 80 um",
        ),
        (lambda p: p, [], CLOCK | {"residual_largest_us": 5000.0}, "look", "lie up to 5,000 us off"),
        (lambda p: p, [], CLOCK | {"gaps": [1]}, "look", "its clock has 1 gap"),
        (lambda p: p, [state("sorting", "failed", "no room")], {}, "bad", "sorting failed: no room"),
        (lambda p: p, [state("units", "stale", "min_isi 0 -> 1")], {}, "look", "units is stale: min_isi 0 -> 1"),
        (
            lambda p: p, [state("sorting", "running"), state("units", "to do", "after probeA/sorting")], {}, "look",
            "units waits for it",
        ),
    ],
)  # fmt: skip
def test_what_is_thought_of_a_probe(
    prepare: Callable[[Probe], Probe], states: list[StageStatus], clock: Any, word: str, said: str, tmp_path: Path
) -> None:
    found = verdict(prepare(Probe(tmp_path)).outputs, clock, states)
    assert found.word == word
    assert any(said in reason for reason in found.reasons), found


def test_pictures_are_readable_in_a_narrow_window(tmp_path: Path) -> None:
    from PIL import Image

    drift = np.linspace(-10, 10, 28)[:, None] * [[1.0, 2.0, 3.0]]
    probe = Probe(tmp_path, n_shanks=4).looked().sorted(*spikes(), drift=drift, blocks=[100.0, 300.0, 600.0]).outputs
    for draw in (probe_figures.drift_map, probe_figures.lfp_and_surface):
        data = draw(probe)
        assert data is not None
        assert Image.open(io.BytesIO(data)).width == round(probe_figures.WIDTH * probe_figures.DPI)


def test_only_what_holds_now_is_told(tmp_path: Path) -> None:
    lines = [
        ("1/probeA/units", "started", ""), ("1/probeA/units", "warning", "of a mended run"),
        ("1/probeA/units", "failed", "mended"), ("1/probeA/units", "started", ""),
        ("1/probeA/units", "warning", "still so"), ("1/probeA/units", "finished", ""),
        ("1/probeA/units", "started", ""), ("1/probeA/units", "reused", ""),
        ("1/probeA/lfp", "started", ""), ("1/probeA/lfp", "finished", ""),
        ("1/probeA/lfp", "started", ""), ("1/probeA/lfp", "failed", "no clock"),
        ("1/probeZ/lfp", "failed", "of a probe that is no more"),
    ]  # fmt: skip
    log = [
        json.dumps({"time": when, "task": task, "event": event, "message": message})
        for when, (task, event, message) in enumerate(lines)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(log) + "\n")
    states = [state("units", "done"), state("lfp", "failed", "no clock")]
    assert _warnings(tmp_path, states) == ["probeA/units: still so", "probeA/lfp: no clock"]
    cost = {"seconds": 2.0, "cpu_seconds": 1.0, "peak_memory_bytes": 1e9}
    rows = [_stage_row(replace(one, cost=cost)) for one in states]
    untold = [_stage_row(replace(one, cost=cost | {"peak_memory_bytes": None})) for one in states]
    assert [row | {"memory": ""} for row in rows] == untold
    assert [(row["name"], row["seconds"]) for row in rows] == [("probeA/units", "2.0"), ("probeA/lfp", "")]
