"""Writing a sorting as the folder that Kilosort 2 writes and phy, SpikeInterface and the next stages open.

Files, shapes and dtypes are Kilosort 2's, nearest-template projections (``template_features.npy``) aside, which no
reader needs. Besides them:

``sorting.json``
    Name, version and parameters of the sorter, and what else it wanted to be known.
``drift_um.npy``
    float64 (n_batches, n_blocks): the displacement that was undone; only where the sorter estimated one. The native
    sorter's ``sorting.json`` has the depth of each block and the samples of a batch.
``spike_positions.npy``
    float32 (n_spikes, 2): where on the probe each spike is seen, um, under Kilosort 4's name; ``cluster_X_um.tsv`` and
    ``cluster_Y_um.tsv`` have each unit's mean.
``cluster_kind.tsv``, ``cluster_p_neuron.tsv``, ``cluster_false_share.tsv``, ...
    What each unit probably is, and its shares of false and missed spikes with intervals (:mod:`.units.estimates`).
``suggested_merges.csv``
    Pairs of units that may be parts of one neuron, with the evidence (:mod:`.units.suggestions`).
``suggested_splits.csv``
    Units that may hold two neurons, with the evidence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import InvalidContentsError
from allen_ecephys.files import atomic_folder

from ..pipeline.outputs import new_npy
from ..readers.phy import LEADING_ZEROS
from ..recording import Recording, chunk_bounds
from ..waveforms.location import NEAR_UM
from .result import SortingResult, peak_channels
from .units.estimates import ESTIMATES, KINDS, estimate_units
from .units.suggestions import suggested_merges, suggested_splits

DETAILS_FILE: Final = "sorting.json"
DRIFT_FILE: Final = "drift_um.npy"
MERGES_FILE: Final = "suggested_merges.csv"
SPLITS_FILE: Final = "suggested_splits.csv"
#: Spikes whose features, and units whose templates, are copied at a time: about 25 MB of 32 or 384 channels.
CHUNK_SPIKES, CHUNK_UNITS = 65_536, 200


def write_phy(
    folder: str | os.PathLike[str], result: SortingResult, recording: Recording, *, hp_filtered: bool = False
) -> Path:
    """Write a sorting to a new phy folder, which appears whole or not at all.

    Parameters
    ----------
    folder
        New or empty folder; one that holds anything is never touched.
    result
        The sorting. Features are copied in pieces, so a memory map of any size does.
    recording
        What was sorted. Where it comes from a file, ``params.py`` names it (relative to `folder`), and
        ``channel_map.npy`` its columns.
    hp_filtered
        Whether the samples of `recording` are high-pass filtered; phy filters them otherwise.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InvalidContentsError
        If the arrays of `result` do not fit together, or do not fit `recording`.
    FileExistsError
        If the folder exists and is not empty.
    DiskFullError
        If the disk has no room.
    """
    check_result(result, recording)
    target = Path(folder)
    with atomic_folder(target) as place:
        places = _write_spikes(place, result)
        _write_templates(place, result)
        _write_channels(place, result, recording)
        _write_unit_tables(place, result, recording, places)
        _write_parameters(place, target, result, recording, hp_filtered=hp_filtered)
        # Not how long it took: equal sortings are equal bytes.
        details = {name: value for name, value in result.details.items() if name != "seconds"}
        (place / DETAILS_FILE).write_text(
            json.dumps(details, indent=1, sort_keys=True, default=_plain), encoding="utf-8"
        )
        times = result.samples / result.sampling_rate
        merges = suggested_merges(times, result.units, result.similarity)
        merges.to_csv(place / MERGES_FILE, index=False, float_format="%.4g")
        splits = suggested_splits(
            times, result.units, result.pc_features, result.pc_feature_ind, n_channels=len(result.channel_map)
        )
        splits.to_csv(place / SPLITS_FILE, index=False, float_format="%.4g")
        if result.drift_um is not None:
            np.save(place / DRIFT_FILE, np.asarray(result.drift_um, dtype=np.float64))
    return target


def check_result(result: SortingResult, recording: Recording) -> None:
    """Raise unless the arrays of a sorting fit together and the recording they were found in.

    Raises
    ------
    InvalidContentsError
        The message names the array, and what it should be.
    """
    n_spikes, n_units, n_channels = len(result.samples), result.n_units, len(result.channel_map)
    n_local = result.pc_feature_ind.shape[-1]
    shapes = {
        "samples": (n_spikes,),
        "units": (n_spikes,),
        "amplitudes": (n_spikes,),
        "templates": (n_units, result.templates.shape[1], n_channels),
        "template_norms": (n_units,),
        "pc_features": (n_spikes, result.pc_features.shape[1], n_local),
        "pc_feature_ind": (n_units, n_local),
        "channel_positions": (n_channels, 2),
        "whitening": (n_channels, n_channels),
        "similarity": (n_units, n_units),
        "good": (n_units,),
        "contamination": (n_units,),
    }
    for name, shape in shapes.items():
        found = getattr(result, name).shape
        if found != shape:
            msg = f"the sorting's {name} has shape {found}; {n_spikes:,} spikes, {n_units} units need {shape}"
            raise InvalidContentsError(msg)
    _check_range("samples", result.samples, recording.n_samples, "the recording's samples")
    _check_range("units", result.units, n_units, "the templates")
    _check_range("channel_map", result.channel_map, recording.n_channels, "the recording's channels")
    _check_range("pc_feature_ind", result.pc_feature_ind, n_channels, "the sorted channels")
    if (np.diff(result.samples) < 0).any():
        msg = "the sorting's samples are not ascending; sort all spikes by time"
        raise InvalidContentsError(msg)
    for name in ("amplitudes", "templates", "template_norms", "whitening", "similarity", "contamination"):
        if not np.isfinite(getattr(result, name)).all():
            msg = f"the sorting's {name} holds NaN or infinite values; nothing was written"
            raise InvalidContentsError(msg)


def _check_range(name: str, values: npt.NDArray[np.int64], stop: int, what: str) -> None:
    if values.size and not 0 <= values.min() <= values.max() < stop:
        msg = f"the sorting's {name} reaches from {values.min():,} to {values.max():,}; {what} are 0 to {stop - 1:,}"
        raise InvalidContentsError(msg)


def _write_spikes(place: Path, result: SortingResult) -> npt.NDArray[np.float64]:
    """Write what belongs to each spike; return the mean place of each unit's, um, float64 (n_units, 2)."""
    np.save(place / "spike_times.npy", result.samples.astype(np.uint64)[:, None])
    units = result.units.astype(np.uint32)[:, None]
    np.save(place / "spike_templates.npy", units)
    np.save(place / "spike_clusters.npy", units)
    np.save(place / "amplitudes.npy", result.amplitudes.astype(np.float64)[:, None])
    np.save(place / "pc_feature_ind.npy", result.pc_feature_ind.astype(np.uint32))
    features = new_npy(place / "pc_features.npy", result.pc_features.shape)
    places = new_npy(place / "spike_positions.npy", (len(features), 2))
    peaks = peak_channels(result)
    sums = np.zeros((result.n_units, 2))
    for start, stop in chunk_bounds(len(features), CHUNK_SPIKES):
        part = np.asarray(result.pc_features[start:stop], dtype=np.float32)
        if not np.isfinite(part).all():
            msg = f"the sorting's pc_features of spikes {start:,} to {stop:,} hold NaN or infinite values"
            raise InvalidContentsError(msg)
        features[start:stop] = part
        mine = result.units[start:stop]
        places[start:stop] = spike_places(part, result.pc_feature_ind[mine], peaks[mine], result.channel_positions)
        np.add.at(sums, mine, places[start:stop])
    counts = np.bincount(result.units, minlength=result.n_units)
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], result.channel_positions[peaks])


def spike_places(
    features: npt.NDArray[np.float32],
    channels: npt.NDArray[np.int64],
    peaks: npt.NDArray[np.int64],
    positions: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """Return where on the probe spikes are seen: the centre of mass (x, y in um) of their energy, float32 (n, 2).

    The energy of a channel is the sum of its squared components less what noise adds to it in the mean (1 each, in
    noise variances); channels within 75 um of the unit's largest one count.

    Parameters
    ----------
    features
        float32 (n, n_pcs, n_local), noise SDs.
    channels, peaks
        int64 (n, n_local) and (n,): sorted channels of the features, and the largest of each spike's unit.
    positions
        float64 (n_channels, 2), um.
    """
    energy = np.maximum(np.square(features).sum(axis=1) - np.float32(features.shape[1]), np.float32(0.0))
    sites, middle = positions[channels], positions[peaks]
    energy *= np.hypot(*(sites - middle[:, None]).transpose(2, 0, 1)) <= NEAR_UM
    total = energy.sum(axis=1)
    centre = np.einsum("nc,ncd->nd", energy, sites) / np.maximum(total, np.float32(1e-12))[:, None]
    return np.where(total[:, None] > 0, centre, middle).astype(np.float32)


def _write_templates(place: Path, result: SortingResult) -> None:
    n_units, n_time, n_channels = result.templates.shape
    templates = new_npy(place / "templates.npy", (n_units, LEADING_ZEROS + n_time, n_channels))
    for start, stop in chunk_bounds(n_units, CHUNK_UNITS):
        templates[start:stop, LEADING_ZEROS:] = result.templates_in_colour(slice(start, stop))
    channels = np.arange(n_channels, dtype=np.float64)
    np.save(place / "templates_ind.npy", np.broadcast_to(channels, (n_units, n_channels)))
    np.save(place / "similar_templates.npy", result.similarity.astype(np.float32))


def _write_channels(place: Path, result: SortingResult, recording: Recording) -> None:
    columns = np.asarray(getattr(recording, "columns", np.arange(recording.n_channels)))
    np.save(place / "channel_map.npy", columns[result.channel_map].astype(np.int32)[:, None])
    np.save(place / "channel_positions.npy", result.channel_positions.astype(np.float64))
    np.save(place / "whitening_mat.npy", result.whitening.astype(np.float64))
    np.save(place / "whitening_mat_inv.npy", unwhitening(result))


def unwhitening(result: SortingResult) -> npt.NDArray[np.float64]:
    """Return the inverse of the whitening, float64 (n_channels, n_channels): counts from whitened samples."""
    # The pseudoinverse leaves a channel without any weight (a flat one) at 0, where the inverse would not exist.
    if np.linalg.matrix_rank(result.whitening) < len(result.whitening):
        return np.asarray(np.linalg.pinv(result.whitening))
    return np.asarray(np.linalg.inv(result.whitening))


def unit_amplitudes_uv(result: SortingResult, recording: Recording) -> npt.NDArray[np.float64]:
    """Return the mean peak-to-peak amplitude of each unit's spikes on its largest channel, uV, float64 (n_units,).

    That of the unwhitened template times the mean of the spikes' amplitudes, as Kilosort 2 states it.
    """
    counts = np.bincount(result.units, minlength=result.n_units)
    sums = np.bincount(result.units, weights=result.amplitudes, minlength=result.n_units)
    sizes = np.where(counts > 0, sums / np.maximum(counts, 1), result.template_norms)
    inverse, gains = unwhitening(result), recording.uv_per_bit[result.channel_map]
    peaks = [np.ptp(template @ inverse * gains, axis=0).max(initial=0.0) for template in result.templates_in_colour()]
    return np.asarray(sizes * np.array(peaks, dtype=np.float64))


def _write_unit_tables(
    place: Path, result: SortingResult, recording: Recording, places: npt.NDArray[np.float64]
) -> None:
    columns: dict[str, Iterable[str]] = {
        "KSLabel": ("good" if good else "mua" for good in result.good),
        "ContamPct": (f"{100 * share:.1f}" for share in result.contamination),
        "Amplitude": (f"{size:.1f}" for size in unit_amplitudes_uv(result, recording)),
        "X_um": (f"{x:.1f}" for x in places[:, 0]),
        "Y_um": (f"{y:.1f}" for y in places[:, 1]),
    }
    estimates = estimate_units(
        result.samples / result.sampling_rate, result.units, result.amplitudes, result.n_units,
        duration=recording.n_samples / recording.sampling_rate,
    )  # fmt: skip
    columns |= {name: map(_cell, estimates[name]) for name in ESTIMATES}
    for name, values in columns.items():
        rows = [f"cluster_id\t{name}", *(f"{unit}\t{value}" for unit, value in enumerate(values))]
        (place / f"cluster_{name}.tsv").write_bytes("".join(f"{row}\r\n" for row in rows).encode())


def _cell(value: str | float) -> str:
    """Spell an estimate; what was not estimated is empty."""
    return value if isinstance(value, str) else "" if np.isnan(value) else f"{value:.3f}"


def read_kinds(folder: str | os.PathLike[str]) -> dict[str, int]:
    """Return how many units of a folder that :func:`write_phy` wrote are of each kind, kinds without any too."""
    lines = (Path(folder) / f"cluster_{ESTIMATES[0]}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    called = [line.split("\t")[1] for line in lines]
    return {kind: called.count(kind) for kind in KINDS}


def _write_parameters(
    place: Path, target: Path, result: SortingResult, recording: Recording, *, hp_filtered: bool
) -> None:
    # Where medians are subtracted on the way, phy shows the raw samples.
    recording = getattr(recording, "source", recording)
    path = getattr(recording, "path", None)
    # phy looks for the file from the folder of params.py, so that both can be moved together.
    data = "" if path is None else Path(os.path.relpath(Path(path).resolve(), target.resolve())).as_posix()
    parameters: dict[str, Any] = {
        "dat_path": data,
        "n_channels_dat": int(getattr(recording, "n_columns", recording.n_channels)),
        "dtype": recording.dtype.name,
        "offset": int(getattr(recording, "offset", 0)),
        "sample_rate": float(result.sampling_rate),
        "hp_filtered": hp_filtered,
    }
    text = "".join(f"{name} = {value!r}\n" for name, value in parameters.items())
    (place / "params.py").write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """Turn NumPy's scalars and arrays into what JSON holds."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    msg = f"the sorting's details hold a {type(value).__name__}, which JSON does not"
    raise InvalidContentsError(msg)
