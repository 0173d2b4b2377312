"""A folder as a rig leaves it after a session: sync file, stimulus and light pickles, ellipses, probes, description."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import InvalidValueError, UnknownNameError, suggest
from allen_ecephys.files import atomic_folder

from ...probes import neuropixels_1_geometry
from ...ranges import check_whole
from . import animal, lines, probes, screen
from .camstim import write_python2_pickle

if TYPE_CHECKING:
    import pandas as pd

    from ..raw.noise import NoiseModel

Floats = npt.NDArray[np.float64]

#: When the stimulus computer begins, on the session's clock (s).
STIMULUS_START: Final = 6.0
RECORDERS: Final = ("open_ephys", "spikeglx")
FIRST_BARCODE: Final = 20_190_119
#: How much faster than the session's each probe's clock is (parts in a million).
CLOCKS_PPM: Final = (37.0, -12.0, 1.0, 50.0, -3.0, 8.0)


@dataclass(frozen=True, eq=False)
class RigTruth:
    """What a simulated rig recorded, and what was really so.

    Attributes
    ----------
    folder
        Holds ``session.json`` (the description), ``rig.sync`` or the NI card's file, ``stimulus.pkl``,
        ``optotagging.pkl``, ``eye_ellipses.h5``, one folder a probe, and ``truth`` with what was on the screen
        (``presentations.csv``) and what the units prefer (``units.csv``).
    presentations
        What was on the screen when (s, session clock).
    shown
        Every frame.
    wheel, blinks
        Running, and whether each frame of the eye camera was a blink.
    light_times
        Onsets of the light pulses (s).
    seconds
        Length of the session.
    probes
        In the order of their names.
    """

    folder: Path
    presentations: pd.DataFrame = field(repr=False)
    shown: screen.ShownFrames = field(repr=False)
    wheel: animal.Wheel = field(repr=False)
    blinks: Floats = field(repr=False)
    eye_times: Floats = field(repr=False)
    light_times: Floats = field(repr=False)
    seconds: float
    probes: tuple[probes.RigProbe, ...]


def write_rig(
    folder: str | os.PathLike[str],
    *,
    repeats: int = 4,
    n_probes: int = 2,
    n_units: int = 8,
    n_channels: int = 32,
    drop: float = 0.01,
    barcode_interval: float = 12.0,
    first_count: int = 0,
    seed: int = 0,
    recorder: str = "open_ephys",
    compress: bool = False,
    noise: NoiseModel | None = None,
) -> RigTruth:
    """Simulate a session on a rig and write all that its computers leave behind.

    Parameters
    ----------
    folder
        New folder.
    repeats
        How often each of 8 directions of gratings is shown; the session lasts about 13 s for each, and 30 s.
    n_probes, n_units, n_channels
        Probes; units and channels of each.
    drop
        Share of frames that stay on the screen for a second refresh.
    barcode_interval
        From one barcode to the next (s); 30 on real rigs.
    first_count
        What the sync file's counter shows at 0 s; near 2**32 it wraps.
    seed
        Decides everything that is drawn.
    recorder
        ``"open_ephys"``, with a sync file and barcodes; or ``"spikeglx"``, whose NI card records the lines
        (``rig_g0_t0.nidq.bin``) and whose streams have a square wave in common.
    compress
        Whether samples of SpikeGLX are written compressed (``.cbin`` + ``.ch``).
    noise
        Of the probes' spike bands.

    Returns
    -------
    RigTruth
        What was really so.

    Raises
    ------
    InvalidValueError
        If there are to be no probes or more than six, or fewer than eight channels, or files of Open Ephys are to be
        compressed.
    UnknownNameError
        If there is no such recorder.
    """
    spikeglx = recorder == "spikeglx"
    if recorder not in RECORDERS:
        msg = f"no recorder {recorder!r}{suggest(recorder, RECORDERS)}; there are {', '.join(RECORDERS)}"
        raise UnknownNameError(msg)
    if compress and not spikeglx:
        msg = "files of Open Ephys are not compressed; compress=True is of recorder='spikeglx'"
        raise InvalidValueError(msg)
    check_whole("repeats", repeats, least=1)
    check_whole("n_probes", n_probes, least=1, most=len(CLOCKS_PPM))
    check_whole("n_channels", n_channels, least=8)
    rng = np.random.default_rng([seed, 10])
    scripts = screen.scripts_of_session(rng, repeats)
    shown = screen.show(screen.n_frames_of(scripts), STIMULUS_START, drop, rng)
    presentations = screen.true_presentations(scripts, shown)
    wheel = animal.run(shown.onsets[:-1], rng)
    light_times = shown.onsets[-1] + 2.0 + np.cumsum(rng.uniform(0.3, 0.5, 12))
    stop = float(light_times[-1]) + 3.0
    eye_times, ellipses, blinks = animal.eye_frames(2.0, stop - 1.0, rng)
    starts = np.arange(1.3, stop - 1.1, barcode_interval) + rng.normal(
        0.0, 2e-4, len(np.arange(1.3, stop - 1.1, barcode_interval))
    )
    codes = FIRST_BARCODE + np.arange(len(starts))
    with atomic_folder(Path(folder)) as place:
        edges = {
            "stim_vsync": (shown.vsync_rising, shown.vsync_falling),
            "stim_photodiode": (shown.photodiode[::2], shown.photodiode[1::2]),
            "cam2_exposure": (eye_times, eye_times + 0.01),
            "LED_sync": (light_times, light_times + 0.005),
        }
        if spikeglx:
            sync_file = f"rig_g0_t0.nidq.{'cbin' if compress else 'bin'}"
            lines.write_ni_file(place / sync_file, edges, seconds=stop)
        else:
            sync_file = "rig.sync"
            edges = {"barcode": lines.barcode_edges(starts, codes)} | edges
            lines.write_sync_file(place / sync_file, edges, first_count=first_count, seconds=stop)
        write_python2_pickle(place / "stimulus.pkl", stimulus_pickle(scripts, shown, wheel))
        conditions, levels = rng.permutation(np.arange(12) % 3 + 1), rng.permutation(np.arange(12) % 3 * 1.5 + 1.0)
        write_python2_pickle(
            place / "optotagging.pkl",
            {"opto_conditions": [str(c) for c in conditions], "opto_levels": np.asarray(levels), "opto_waveforms": {}},
        )
        animal.write_ellipses(place / "eye_ellipses.h5", ellipses)
        recorded = tuple(
            probes.record_probe(
                place / f"probe{'ABCDEF'[k]}",
                name=f"probe{'ABCDEF'[k]}",
                start=0.4 + 0.37 * k,
                stop=stop - 0.2 * k,
                ppm=CLOCKS_PPM[k],
                presentations=presentations,
                barcodes=(starts, codes),
                n_units=n_units,
                n_channels=n_channels,
                seed=1000 * seed + k,
                spikeglx=spikeglx,
                compress=compress,
                noise=noise,
            )
            for k in range(n_probes)
        )
        for probe in recorded:
            _channel_table(probe, n_channels).to_csv(place / f"{probe.name}_channels.csv", index=False)
        (place / "truth").mkdir()
        presentations.to_csv(place / "truth" / "presentations.csv", index=False)
        _units_table(recorded).to_csv(place / "truth" / "units.csv", index=False)
        told = _description(recorded, seed) | {"sync": sync_file} | (_as_spikeglx(recorded) if spikeglx else {})
        (place / "session.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    return RigTruth(
        Path(folder), presentations, shown, wheel, blinks, eye_times, light_times, stop, _moved(recorded, Path(folder))
    )


def _moved(recorded: tuple[probes.RigProbe, ...], folder: Path) -> tuple[probes.RigProbe, ...]:
    """Return the probes with their recordings where the finished folder has them."""
    from dataclasses import replace

    return tuple(replace(p, recording=replace(p.recording, folder=folder / p.name)) for p in recorded)


def stimulus_pickle(scripts: list[screen.Script], shown: screen.ShownFrames, wheel: animal.Wheel) -> dict[str, Any]:
    """Return what the stimulus computer writes of a session."""
    encoder = {"dx": wheel.dx, "vsig": wheel.vsig, "vin": wheel.vin}
    return {
        "fps": screen.FPS,
        "pre_blank_sec": screen.PRE_BLANK,
        "stimuli": [script.as_pickled() for script in scripts],
        "intervalsms": np.diff(shown.vsync_falling) * 1e3,
        "startdatetime": datetime(2019, 1, 19, 8, 54, 18),
        "items": {"foraging": {"encoders": [encoder]}},
    }


def _units_table(recorded: tuple[probes.RigProbe, ...]) -> pd.DataFrame:
    import pandas as pd

    tables = [
        pd.DataFrame(
            {
                "probe": probe.name,
                "unit": probe.recording.units.index,
                "peak_channel": probe.recording.units["peak_channel"].to_numpy(),
                "preferred_orientation": probe.preferred_orientation,
            }
        )
        for probe in recorded
    ]
    return pd.concat(tables, ignore_index=True)


def _channel_table(probe: probes.RigProbe, n_channels: int) -> pd.DataFrame:
    """Return where each channel is in the brain, as a lab's registration leaves it."""
    import pandas as pd

    number, surface = np.arange(n_channels), probe.recording.surface_channel
    inside = number < surface
    depth = neuropixels_1_geometry(n_channels)[surface - 1, 1] - neuropixels_1_geometry(n_channels)[:, 1]
    return pd.DataFrame(
        {
            "channel": number,
            "structure_acronym": np.where(inside, np.where(depth < 100.0, "VISp2/3", "VISp5"), ""),
            "anterior_posterior_ccf_coordinate": np.where(inside, 8000.0 + 0.1 * depth, np.nan),
            "dorsal_ventral_ccf_coordinate": np.where(inside, 500.0 + depth, np.nan),
            "left_right_ccf_coordinate": np.where(inside, 8200.0, np.nan),
        }
    )


def _description(recorded: tuple[probes.RigProbe, ...], seed: int) -> dict[str, Any]:
    """Return the session description: what the rig's files cannot tell."""
    return {
        "session_id": 700_000 + seed,
        "session_start_time": datetime(2019, 1, 19, 8, 54, 18, tzinfo=UTC).isoformat(),
        "session_type": "brain_observatory_1.1",
        "institution": "simulated",
        "subject": {
            "subject_id": f"mouse-{seed}", "age_in_days": 118, "sex": "F", "species": "Mus musculus",
            "full_genotype": "wt/wt",
        },
        "rig": {
            "equipment": "NP.sim",
            "monitor_position": [118.6, 86.2, 31.6], "monitor_rotation": [0.0, 0.0, 0.0],
            "camera_position": [102.8, 74.7, 31.6], "camera_rotation": [0.0, 0.0, 2.8],
            "led_position": [246.0, 92.3, 52.6],
        },
        "stimulus": "stimulus.pkl",
        "optotagging": "optotagging.pkl",
        "eye_ellipses": "eye_ellipses.h5",
        "invalid_times": [],
        "probes": [
            {"name": probe.name, "recording": probe.name, "channels": f"{probe.name}_channels.csv"}
            for probe in recorded
        ],
    }  # fmt: skip


def _as_spikeglx(recorded: tuple[probes.RigProbe, ...]) -> dict[str, Any]:
    """Return what the description of a rig of SpikeGLX says otherwise: its lines, and when probes began (to 0.1 s)."""
    purposes = {"frames": "stim_vsync", "photodiode": "stim_photodiode", "eye_camera": "cam2_exposure"}
    purposes["optotagging"] = "LED_sync"
    return {
        "lines": {purpose: f"XD{lines.NI_LINES[name]}" for purpose, name in purposes.items()},
        "probes": [
            {
                "name": probe.name, "recording": probe.name, "channels": f"{probe.name}_channels.csv",
                "clock": "square_wave", "start": round(probe.start, 1),
            }
            for probe in recorded
        ],
    }  # fmt: skip
