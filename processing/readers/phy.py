"""phy folders: what Kilosort writes and phy edits (``spike_times.npy``, ``spike_clusters.npy``, ...)."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, MissingDataError

from ..sorted_spikes import SortedSpikes

if TYPE_CHECKING:
    import pandas as pd

#: Kilosort 2 pads its 61-sample templates with zeros in front, to 82 samples.
PADDED_SAMPLES, LEADING_ZEROS = 82, 21
GROUP_FILES: Final = ("cluster_group.tsv", "cluster_group.csv", "cluster_KSLabel.tsv")
#: What ``params.py`` may assign; the file is parsed, never run.
PARAMETERS: Final = ("dat_path", "n_channels_dat", "dtype", "offset", "sample_rate", "hp_filtered")


@dataclass(frozen=True)
class PhySorting:
    """A sorting as found in a phy folder; absent files leave None.

    Attributes
    ----------
    spikes
        Times (samples) and units (clusters, as curated).
    spike_templates
        int64 (n_spikes,): template that found each spike; equals the cluster before curation.
    amplitudes
        float64 (n_spikes,): size relative to the template, without dimension.
    templates
        float32 (n_templates, n_time, n_channels): waveforms in counts, unwhitened; the padding that Kilosort 2 adds is
        cut off (61 samples stay).
    channel_map
        int64 (n_channels,): channel of the recording for each channel of the templates.
    channel_positions
        float64 (n_channels, 2) um.
    pc_features
        Memory map (n_spikes, n_components, n_local), and `pc_feature_ind` int64 (n_templates, n_local): the channels of
        these features, as indices into `channel_map`.
    groups
        Series, index cluster id: ``good``, ``mua``, ``noise`` as called by hand or by the sorter.
    parameters
        What ``params.py`` states (``sample_rate``, ``n_channels_dat``, ...).
    """

    folder: Path
    spikes: SortedSpikes
    spike_templates: npt.NDArray[np.int64] | None
    amplitudes: npt.NDArray[np.float64] | None
    templates: npt.NDArray[np.float32] | None
    channel_map: npt.NDArray[np.int64] | None
    channel_positions: npt.NDArray[np.float64] | None
    pc_features: npt.NDArray[Any] | None
    pc_feature_ind: npt.NDArray[np.int64] | None
    groups: pd.Series | None
    parameters: dict[str, Any]

    @property
    def sampling_rate(self) -> float:
        """Sampling rate in Hz, from ``params.py``.

        Raises
        ------
        MissingDataError
            If the folder states none.
        """
        if "sample_rate" not in self.parameters:
            msg = f"{self.folder} has no params.py with a sample_rate; take the rate from the recording"
            raise MissingDataError(msg)
        return float(self.parameters["sample_rate"])


def read_phy(folder: str | os.PathLike[str], *, n_samples: int | None = None) -> PhySorting:
    """Read a phy or Kilosort folder.

    Parameters
    ----------
    folder
        Folder with at least ``spike_times.npy`` and ``spike_clusters.npy`` (or ``spike_templates.npy``).
    n_samples
        Length of the recording; spikes at or past it are refused.

    Raises
    ------
    FileNotFoundError
        If there are no spikes in the folder.
    FileFormatError
        If an array holds objects, or another number of spikes than ``spike_times.npy``.
    SpikeTrainError
        If the spikes do not fit the recording.
    """
    place = Path(folder)
    times = _required(place, "spike_times.npy").ravel()
    by_template = _array(place, "spike_templates.npy")
    clusters = _array(place, "spike_clusters.npy")
    units = by_template if clusters is None else clusters
    if units is None:
        msg = f"{place} has neither spike_clusters.npy nor spike_templates.npy: it says when, but not which unit"
        raise FileNotFoundError(msg)
    amplitudes = _array(place, "amplitudes.npy")
    for name, values in (("spike_clusters", units), ("spike_templates", by_template), ("amplitudes", amplitudes)):
        if values is not None and values.size != times.size:
            msg = f"{place}: {name}.npy holds {values.size:,} spikes, spike_times.npy {times.size:,}; they belong apart"
            raise FileFormatError(msg)
    features = _array(place, "pc_features.npy", mapped=True)
    if features is not None and len(features) != times.size:
        msg = f"{place}: pc_features.npy holds {len(features):,} spikes, spike_times.npy {times.size:,}"
        raise FileFormatError(msg)
    return PhySorting(
        folder=place,
        spikes=SortedSpikes.from_arrays(times, units, n_samples=n_samples),
        spike_templates=None if by_template is None else by_template.ravel().astype(np.int64),
        amplitudes=None if amplitudes is None else amplitudes.ravel().astype(np.float64),
        templates=_templates(place),
        channel_map=_integers(place, "channel_map.npy"),
        channel_positions=_array(place, "channel_positions.npy"),
        pc_features=features,
        pc_feature_ind=_array(place, "pc_feature_ind.npy"),
        groups=_groups(place),
        parameters=_parameters(place / "params.py"),
    )


def _array(folder: Path, name: str, *, mapped: bool = False) -> npt.NDArray[Any] | None:
    path = folder / name
    if not path.exists():
        return None
    try:
        return np.asarray(np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False))
    except (ValueError, EOFError) as error:
        msg = f"{path} is no plain array: {error}; write it again with the sorter"
        raise FileFormatError(msg) from error


def _required(folder: Path, name: str) -> npt.NDArray[Any]:
    values = _array(folder, name)
    if values is None:
        msg = f"{folder} has no {name}: it is not a phy or Kilosort folder"
        raise FileNotFoundError(msg)
    return values


def _integers(folder: Path, name: str) -> npt.NDArray[np.int64] | None:
    values = _array(folder, name)
    return None if values is None else values.ravel().astype(np.int64)


def _templates(folder: Path) -> npt.NDArray[np.float32] | None:
    """Unwhiten: ``T @ whitening_mat_inv``, after cutting the zeros in front."""
    templates = _array(folder, "templates.npy")
    if templates is None:
        return None
    if templates.ndim != 3:
        msg = f"{folder}: templates.npy has shape {templates.shape}, not (templates, samples, channels)"
        raise FileFormatError(msg)
    if templates.shape[1] == PADDED_SAMPLES and not templates[:, :LEADING_ZEROS].any():
        templates = templates[:, LEADING_ZEROS:]
    inverse = _array(folder, "whitening_mat_inv.npy")
    if inverse is not None and inverse.shape != (templates.shape[2],) * 2:
        msg = f"{folder}: whitening_mat_inv.npy is {inverse.shape} for templates of {templates.shape[2]} channels"
        raise FileFormatError(msg)
    return np.asarray(templates if inverse is None else templates @ inverse, dtype=np.float32)


def _groups(folder: Path) -> pd.Series | None:
    import pandas as pd

    for name in GROUP_FILES:
        if (folder / name).exists():
            table = pd.read_csv(folder / name, sep="\t" if name.endswith(".tsv") else ",")
            if "cluster_id" not in table or len(table.columns) < 2:
                msg = f"{folder / name} has columns {list(table.columns)}; cluster_id and group are needed"
                raise FileFormatError(msg)
            column = "group" if "group" in table else table.columns[-1]
            return table.set_index("cluster_id")[column].rename("group")
    return None


def _parameters(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    found: dict[str, Any] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() in PARAMETERS:
            try:
                found[name.strip()] = ast.literal_eval(value.strip().removeprefix("r"))
            except (ValueError, SyntaxError) as error:
                msg = f"{path}: {line.strip()!r} is no plain value; write a number or a quoted text"
                raise FileFormatError(msg) from error
    return found
