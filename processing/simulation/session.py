"""Writing a simulated session: stimuli, animal, brain and probes put together, and the truth told."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from allen_ecephys.errors import InvalidValueError
from allen_ecephys.files import scratch_folder

from ..packaging.files import checked_target
from ..packaging.identities import channel_ids, check_session_id, unit_ids
from ..packaging.session import RigGeometry, SessionContents, SessionMetadata, write_session_nwb
from ..ranges import check_whole
from . import behavior, probe_layout, unit_metrics
from .population import draw_units
from .spiking import Timeline, simulate_spikes
from .stimulus_sets import SessionType, check_session_type, stimulus_presentations

if TYPE_CHECKING:
    import pandas as pd

#: Units of a full session, as in the released session 715093703.
FULL_UNITS = 2779
#: Where monitor, camera and light stood on the rigs of the release (mm, degrees).
RIG = RigGeometry(
    equipment="NP.1",
    monitor_position=(118.6, 86.2, 31.6),
    camera_position=(102.8, 74.7, 31.6),
    led_position=(246.0, 92.3, 52.6),
    monitor_rotation=(0.0, 0.0, 0.0),
    camera_rotation=(0.0, 0.0, 2.8),
)
#: Recording goes on after the last light pulse (s).
_TAIL = 10.0


@dataclass(frozen=True)
class GroundTruth:
    """What a simulated session was made of.

    Attributes
    ----------
    path
        The session file.
    session_id, session_type, seed, scale
        What was asked for.
    units
        Index unit id; everything :func:`~.population.draw_units` drew (preferred orientation, temporal and spatial
        frequency, receptive field, scene, ...), where the unit is (``structure_acronym``, ``probe_id``), whether light
        drives it (``optotagged``), its ``quality`` and how many spikes it has (``spike_count``).
    stimulus_presentations
        Every presentation as written, in order of time.
    invalid_times, probes, channels
        As written.
    duration
        Length of the recording (s).

    Examples
    --------
    >>> truth.units.shape[0], truth.session_type
    (150, 'brain_observatory_1.1')
    """

    path: Path
    session_id: int
    session_type: SessionType
    seed: int
    scale: float
    units: pd.DataFrame = field(repr=False)
    stimulus_presentations: pd.DataFrame = field(repr=False)
    invalid_times: pd.DataFrame | None = field(repr=False)
    probes: pd.DataFrame = field(repr=False)
    channels: pd.DataFrame = field(repr=False)
    duration: float


def write_session(
    path: str | os.PathLike[str],
    session_type: str = "brain_observatory_1.1",
    scale: float = 1.0,
    seed: int = 0,
    *,
    n_units: int | None = None,
    n_probes: int = 6,
    session_id: int | None = None,
    eye_tracking: bool = True,
    invalid_times: bool = True,
    contrast_block: bool = False,
    has_lfp: bool = False,
    overwrite: bool = False,
) -> GroundTruth:
    """Simulate a session and write it as an NWB file in the released layout.

    Parameters
    ----------
    path
        The file to write.
    session_type
        ``"brain_observatory_1.1"`` or ``"functional_connectivity"``.
    scale
        Length of the stimulus blocks relative to the real session, above 0 and at most 1. At 1 the structure is exactly
        the released one (70,390 or 77,362 presentations, about 2.7 h); below, conditions are repeated less often (but
        all at least twice), movies are shorter. 0.02 gives about ten minutes.
    seed
        Decides everything that is drawn; equal seeds give equal contents, byte for byte.
    n_units, n_probes
        Size of the population (default: 2,779 x `scale`, at least 40) and number of probes (1 to 6).
    session_id
        Id of the session (default: 700,000,000 + `seed`); ids of probes, channels and units follow from it.
    eye_tracking, invalid_times
        Whether the session has them; released sessions lack them now and then.
    contrast_block
        Whether a *Brain Observatory 1.1* session ends with contrast gratings, as 8 of 32 do.
    has_lfp
        Whether the file states that its probes have LFP, which :func:`write_lfp` then writes, one file a probe.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    GroundTruth
        What the units prefer, and the tables behind the file.

    Raises
    ------
    UnknownNameError
        If there is no such session type.
    InvalidValueError
        If `scale`, `n_units` or `n_probes` are out of range.
    MissingFileError, FileExistsError, DiskFullError
        As :func:`allen_ecephys.processing.packaging.session.write_session_nwb`.

    Notes
    -----
    Spikes are kept in a temporary file beside `path` until they are written, never in memory: 1.0 GB at full scale.

    Examples
    --------
    >>> truth = write_session("small.nwb", scale=0.01, n_units=40, n_probes=1)
    >>> truth.units[["preferred_orientation"]].head(2)
                     preferred_orientation
    id
    700000000000000                   90.0
    700000000000002                   90.0
    """
    kind = check_session_type(session_type)
    check_whole("seed", seed)
    if session_id is not None:
        check_session_id(session_id)
    count = max(40, round(FULL_UNITS * scale)) if n_units is None else n_units
    _check_ranges(scale, count, n_probes)
    path = checked_target(path, overwrite=overwrite)
    number = 700_000_000 + seed if session_id is None else session_id
    streams = np.random.default_rng([seed, 2]).spawn(6)
    presentations = stimulus_presentations(kind, scale, seed, contrast_block=contrast_block)
    pulses = behavior.light_pulses(float(presentations["stop_time"].iloc[-1]), scale, streams[0])
    duration = float(pulses["stop_time"].iloc[-1]) + _TAIL
    running, raw_running = behavior.running_tables(float(presentations["stop_time"].iloc[-1]), streams[1])
    probes = probe_layout.probe_table(number, n_probes, has_lfp=has_lfp)
    channels = probe_layout.channel_table(probes, streams[2])
    units, truth = _draw_population(count, probes, channels, duration, streams[3])
    invalid = behavior.invalid_intervals(number, probes, presentations, pulses) if invalid_times else None
    with scratch_folder(path.with_suffix(".spikes")) as folder:
        timeline = Timeline(presentations, pulses, running, duration, np.random.default_rng([seed, 3]))
        spikes = simulate_spikes(folder / "spike_times.f8", truth, timeline, seed)
        counts = np.array([len(times) for times in spikes], dtype=np.int64)
        truth["spike_count"] = counts
        units["firing_rate"] = counts / duration
        units["presence_ratio"] = [unit_metrics.presence_ratio(times, duration) for times in spikes]
        contents = SessionContents(
            metadata=session_metadata(number, kind, seed),
            probes=probes,
            channels=channels,
            units=units,
            spike_times=spikes,
            spike_amplitudes=probe_layout.SpikeAmplitudes(
                counts, units["waveform_amplitude"].to_numpy(np.float64), seed
            ),
            mean_waveforms=probe_layout.MeanWaveforms(units, truth["probe_channel_number"].to_numpy(np.int64)),
            stimulus_presentations=presentations,
            running_speed=running,
            raw_running=raw_running,
            invalid_times=invalid,
            optogenetic_stimulation_epochs=pulses,
            eye_tracking=behavior.eye_tracking(duration, running, streams[4]) if eye_tracking else None,
            rig_geometry=RIG,
        )
        write_session_nwb(path, contents, overwrite=overwrite)
        del spikes, contents
    return GroundTruth(path, number, kind, seed, scale, truth, presentations, invalid, probes, channels, duration)


def _check_ranges(scale: float, n_units: int, n_probes: int) -> None:
    if not 0 < scale <= 1:
        msg = f"scale is {scale}; give a number above 0 and at most 1 (1 is the length of a real session)"
        raise InvalidValueError(msg)
    if n_units < 1 or not 1 <= n_probes <= 6:
        msg = f"n_units is {n_units} and n_probes {n_probes}; give at least one unit, and one to six probes"
        raise InvalidValueError(msg)


def session_metadata(session_id: int, session_type: SessionType, seed: int) -> SessionMetadata:
    """Return the metadata of a simulated session: fixed dates, an animal whose ids follow from the seed."""
    start = datetime(2019, 1, 1 + seed % 28, 9, 0, 0, tzinfo=UTC)
    return SessionMetadata(
        session_id=session_id,
        session_start_time=start,
        # A fixed date, so that equal seeds give equal contents, byte for byte.
        file_create_date=start,
        session_type=session_type,
        specimen_name=f"Sst-IRES-Cre;Ai32-{400_000 + seed}",
        subject_id=str(600_000_000 + seed),
        age_in_days=118.0,
        full_genotype="Sst-IRES-Cre/wt;Ai32(RCL-ChR2(H134R)_EYFP)/wt",
        sex="MF"[seed % 2],
        strain="",
        species="Mus musculus",
        institution="simulated by allen-ecephys",
    )


def _draw_population(
    n: int, probes: pd.DataFrame, channels: pd.DataFrame, duration: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the units table (without what the spikes decide) and the truth, both indexed by unit id."""
    import pandas as pd

    probe_row = np.sort(np.arange(n) % len(probes))
    local = np.concatenate([np.arange(k) for k in np.bincount(probe_row, minlength=len(probes))])
    cluster = 2 * local + (local > 3)
    probe_id = probes.index.to_numpy()[probe_row]
    # Few units above the brain; those outside the brain are what the in-brain filter hides.
    number = np.minimum(rng.integers(0, 334, n), 383)
    outside = rng.random(n) < 0.03
    outside[:5] = False
    number[outside] = rng.integers(330, 345, int(outside.sum()))
    # A reference or a broken channel sees no spikes: its neighbour does.
    while (silent := ~channels.loc[channel_ids(probe_id, number), "valid_data"].to_numpy(bool)).any():
        number[silent] += 1
    here = channels.loc[channel_ids(probe_id, number)]
    index: pd.Index[int] = pd.Index(unit_ids(probe_id, cluster), name="id")
    metrics = unit_metrics.draw_metrics(n, rng)
    truth = draw_units(n, rng, probe_layout.is_visual(here["structure_acronym"])).set_index(index)
    fast = metrics["waveform_duration"].to_numpy() < 0.4
    truth["optotagged"] = fast & (rng.random(n) < 0.3) & (metrics["quality"] == "good").to_numpy()
    # Contaminated units are those whose spikes violate the refractory period.
    truth["contamination"] = np.where(
        metrics.pop("contaminated"), rng.uniform(0.3, 1.0, n), 0.2 * truth["contamination"]
    )
    truth[["active_from", "active_until"]] = unit_metrics.active_window(
        metrics.pop("lost").to_numpy(bool), duration, rng
    )
    truth["quality"] = metrics["quality"].to_numpy()
    truth["structure_acronym"] = here["structure_acronym"].to_numpy()
    truth["probe_id"] = probe_id
    truth["probe_channel_number"] = number
    columns = {"peak_channel_id": here.index.to_numpy(), "local_index": local, "cluster_id": cluster}
    return pd.concat([pd.DataFrame(columns), metrics], axis=1).set_index(index), truth
