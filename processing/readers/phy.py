"""phy folders: what Kilosort writes and phy edits (``spike_times.npy``, ``spike_clusters.npy``, ...)."""

from __future__ import annotations

import ast
import io
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, MissingDataError, MissingFileError, SpikeTrainError, in_words

from ..sorted_spikes import SortedSpikes
from .arrays import read_npy
from .text import read_text

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

#: Kilosort 2 pads its 61-sample templates with zeros in front, to 82 samples.
PADDED_SAMPLES, LEADING_ZEROS = 82, 21
#: Labels of clusters, by hand and by the sorter; earlier files count first.
GROUP_FILES: Final = ("cluster_group.tsv", "cluster_group.csv", "cluster_KSLabel.tsv")
#: What phy calls a cluster that nobody has labelled.
UNLABELLED: Final = "unsorted"
#: Channels of sparse templates, by SpikeInterface and phy, and by Kilosort.
SPARSE_FILES: Final = ("template_ind.npy", "templates_ind.npy")
#: No recording has more; a larger number is damage.
MOST_CHANNELS: Final = 100_000
#: What ``params.py`` may assign; the file is parsed, never run.
PARAMETERS: Final = ("dat_path", "n_channels_dat", "dtype", "offset", "sample_rate", "hp_filtered")


@dataclass(frozen=True)
class PhySorting:
    r"""A sorting as found in a phy folder; absent files leave None.

    Attributes
    ----------
    spikes
        Times (samples) and units (clusters, as curated).
    n_left_out
        Spikes that lie outside the recording and were left out.
    spike_rows
        int64 (n_spikes,): row of each spike in the folder's files.
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
        Memory map (rows of the file, n_components, n_local), by `spike_rows`.
    pc_feature_ind
        int64 (n_templates, n_local): the channels of these features, as indices into `channel_map`.
    groups
        Series, index cluster id: ``good``, ``mua``, ``noise`` as called by hand or by the sorter, ``unsorted``
        as called by neither.
    parameters
        What ``params.py`` states (``sample_rate``, ``n_channels_dat``, ...).

    Examples
    --------
    >>> folder = Path("by_hand")
    >>> folder.mkdir()
    >>> np.save(folder / "spike_times.npy", np.array([300, 900, 1_500]))
    >>> np.save(folder / "spike_clusters.npy", np.array([2, 2, 5]))
    >>> written = (folder / "params.py").write_text("sample_rate = 30000.0\n")
    >>> sorting = read_phy(folder, n_samples=180_000)
    >>> sorting.spikes.counts(), sorting.sampling_rate, sorting.templates is None
    (array([2, 1]), 30000.0, True)
    """

    folder: Path
    spikes: SortedSpikes
    n_left_out: int
    spike_rows: npt.NDArray[np.int64]
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
        r"""Sampling rate in Hz, from ``params.py``.

        Raises
        ------
        MissingDataError
            If the folder states none.

        Examples
        --------
        >>> folder = Path("sampled")
        >>> folder.mkdir()
        >>> for name in ("spike_times", "spike_clusters"):
        ...     np.save(folder / f"{name}.npy", np.array([300, 900]))
        >>> written = (folder / "params.py").write_text("sample_rate = 25000.0\n")
        >>> read_phy(folder).sampling_rate
        25000.0
        """
        if "sample_rate" not in self.parameters:
            msg = f"{self.folder} has no params.py with a sample_rate; take the rate from the recording"
            raise MissingDataError(msg)
        return float(self.parameters["sample_rate"])

    def labels(self) -> dict[int, str]:
        r"""Return what each cluster is called, where anybody called them anything (:attr:`groups`).

        Examples
        --------
        >>> folder = Path("labelled")
        >>> folder.mkdir()
        >>> for name in ("spike_times", "spike_clusters"):
        ...     np.save(folder / f"{name}.npy", np.array([300, 900]))
        >>> written = (folder / "params.py").write_text("sample_rate = 30000.0\n")
        >>> written = (folder / "cluster_group.tsv").write_text("cluster_id\tgroup\n300\tgood\n900\tnoise\n")
        >>> read_phy(folder).labels()
        {300: 'good', 900: 'noise'}
        """
        return (
            {}
            if self.groups is None
            else dict(zip(self.groups.index.to_numpy(np.int64).tolist(), map(str, self.groups), strict=True))
        )


def read_phy(folder: str | os.PathLike[str], *, n_samples: int | None = None) -> PhySorting:
    """Read a phy or Kilosort folder.

    Parameters
    ----------
    folder
        Folder with at least ``spike_times.npy`` and ``spike_clusters.npy`` (or ``spike_templates.npy``).
    n_samples
        Length of the recording. Spikes before its first or past its last sample are left out, which is logged and
        counted in ``n_left_out``; sorters find such at the edges of what they were given.

    Raises
    ------
    MissingFileError
        If there are no spikes in the folder.
    FileFormatError
        If an array holds objects, or another number of spikes than ``spike_times.npy``.
    SpikeTrainError
        If times or units are no whole numbers, or no spike lies within the recording.
    """
    place = Path(folder)
    times = _required(place, "spike_times.npy").ravel()
    by_template = _array(place, "spike_templates.npy")
    clusters = _array(place, "spike_clusters.npy")
    units = by_template if clusters is None else clusters
    if units is None:
        msg = f"{place} has neither spike_clusters.npy nor spike_templates.npy: it says when, but not which unit"
        raise MissingFileError(msg)
    amplitudes = _array(place, "amplitudes.npy")
    for name, values in (("spike_clusters", units), ("spike_templates", by_template), ("amplitudes", amplitudes)):
        if values is not None and values.size != times.size:
            msg = f"{place}: {name}.npy holds {values.size:,} spikes, spike_times.npy {times.size:,}; they belong apart"
            raise FileFormatError(msg)
    features = _array(place, "pc_features.npy", mapped=True)
    if features is not None and (not features.ndim or len(features) != times.size):
        held = len(features) if features.ndim else 1
        msg = f"{place}: pc_features.npy holds {held:,} spikes, spike_times.npy {times.size:,}"
        raise FileFormatError(msg)
    rows = _rows_within(place, times, n_samples)
    spikes = SortedSpikes.from_arrays(times[rows], units.ravel()[rows], n_samples=n_samples)
    channel_map = _integers(place, "channel_map.npy")
    return PhySorting(
        folder=place,
        spikes=spikes,
        n_left_out=times.size - len(rows),
        spike_rows=rows,
        spike_templates=None if by_template is None else by_template.ravel()[rows].astype(np.int64),
        amplitudes=None if amplitudes is None else amplitudes.ravel()[rows].astype(np.float64),
        templates=_templates(place, None if channel_map is None else channel_map.size),
        channel_map=channel_map,
        channel_positions=_array(place, "channel_positions.npy"),
        pc_features=features,
        pc_feature_ind=_array(place, "pc_feature_ind.npy"),
        groups=_groups(place, spikes.unit_ids),
        parameters=_parameters(place / "params.py"),
    )


def _rows_within(folder: Path, times: npt.NDArray[Any], n_samples: int | None) -> npt.NDArray[np.int64]:
    """Return the rows of spikes within the recording; the others are logged."""
    if times.dtype.kind == "u":  # numbers below zero, written without a sign
        times = times.astype(np.int64)
    early = np.less(times, 0)
    late = np.zeros(times.shape, bool) if n_samples is None else np.greater_equal(times, n_samples)
    rows = np.flatnonzero(~(early | late)).astype(np.int64)
    n_out = times.size - rows.size
    if not n_out:
        return rows
    length = "" if n_samples is None else f" of {n_samples:,} samples"
    said = f"{int(early.sum()):,} before the recording and {int(late.sum()):,} past the end of it{length}"
    if not rows.size:
        msg = (
            f"{folder}: all {times.size:,} spikes lie outside the recording ({said}): check that spikes and recording "
            "belong together"
        )
        raise SpikeTrainError(msg)
    logger.warning("%s: %d of %d spikes are left out, %s", folder, n_out, times.size, said)
    return rows


def _array(folder: Path, name: str, *, mapped: bool = False) -> npt.NDArray[Any] | None:
    path = folder / name
    return read_npy(path, mapped=mapped) if path.exists() else None


def _required(folder: Path, name: str) -> npt.NDArray[Any]:
    values = _array(folder, name)
    if values is None:
        msg = f"{folder} has no {name}: it is not a phy or Kilosort folder"
        raise MissingFileError(msg)
    return values


def _integers(folder: Path, name: str) -> npt.NDArray[np.int64] | None:
    values = _array(folder, name)
    return None if values is None else values.ravel().astype(np.int64)


def _templates(folder: Path, n_channels: int | None) -> npt.NDArray[np.float32] | None:
    """Unwhiten: ``T @ whitening_mat_inv``, after spreading sparse templates and cutting the zeros in front."""
    templates = _array(folder, "templates.npy")
    if templates is None:
        return None
    if templates.ndim != 3 or templates.dtype.kind not in "iuf":
        msg = f"{folder}: templates.npy has shape {templates.shape}, not (templates, samples, channels)"
        raise FileFormatError(msg)
    templates = _spread(folder, templates, n_channels)
    if templates.shape[1] == PADDED_SAMPLES and not templates[:, :LEADING_ZEROS].any():
        templates = templates[:, LEADING_ZEROS:]
    inverse = _array(folder, "whitening_mat_inv.npy")
    if inverse is not None and inverse.shape != (templates.shape[2],) * 2:
        msg = f"{folder}: whitening_mat_inv.npy is {inverse.shape} for templates of {templates.shape[2]} channels"
        raise FileFormatError(msg)
    return np.asarray(templates if inverse is None else templates @ inverse, dtype=np.float32)


def _spread(folder: Path, templates: npt.NDArray[Any], n_channels: int | None) -> npt.NDArray[Any]:
    """Return templates on all channels; sparse ones name theirs in ``template_ind.npy``, -1 where there are fewer.

    Kilosort's ``templates_ind.npy`` lists all channels for each template, in their order.
    """
    found = ((name, _array(folder, name)) for name in SPARSE_FILES)
    name, listed = next(((name, array) for name, array in found if array is not None), ("", None))
    if listed is None:
        return templates
    if listed.shape != (templates.shape[0], templates.shape[2]) or not np.isfinite(listed).all():
        msg = f"{folder}: {name} has shape {listed.shape}, templates.npy {templates.shape}; they belong apart"
        raise FileFormatError(msg)
    channels = listed.astype(np.int64)
    n_all = max(int(channels.max(initial=-1)) + 1, templates.shape[2]) if n_channels is None else n_channels
    if n_all > MOST_CHANNELS:
        msg = f"{folder}: {name} names channel {channels.max():,}, which no recording has; it was damaged"
        raise FileFormatError(msg)
    if np.array_equal(channels, np.broadcast_to(np.arange(n_all), (*channels.shape[:1], n_all))):
        return templates
    dense = np.zeros((*templates.shape[:2], n_all), templates.dtype)
    for template, own, target in zip(templates, channels, dense, strict=True):
        used = (own >= 0) & (own < n_all)
        target[:, own[used]] = template[:, used]
    return dense


def _groups(folder: Path, unit_ids: npt.NDArray[np.int64]) -> pd.Series | None:
    """Return what each cluster is called: by hand where it is, else by the sorter, else ``unsorted`` as in phy."""
    import pandas as pd

    tables = [_labels(folder / name) for name in GROUP_FILES if (folder / name).exists()]
    if not tables:
        return None
    labels = pd.Series(dtype=object)
    for table in tables:
        labels = table if labels.empty else labels.combine_first(table)
    every = np.union1d(unit_ids, labels.index.to_numpy(np.int64))
    return labels.reindex(pd.Index(every, name="cluster_id")).fillna(UNLABELLED).rename("group")


def _labels(path: Path) -> pd.Series:
    import pandas as pd

    try:
        table = pd.read_csv(io.StringIO(read_text(path)), sep="\t" if path.suffix == ".tsv" else ",")
        _check_columns(path, list(table.columns))
        labels = table.dropna(subset="cluster_id")
        clusters = labels["cluster_id"].map(_whole_number)
        labels = labels.assign(cluster_id=clusters.astype(np.int64)).set_index("cluster_id")
    except FileFormatError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        msg = f"{path} is no table of clusters: {in_words(error)}; write it again with phy or the sorter"
        raise FileFormatError(msg) from error
    column = "group" if "group" in labels else labels.columns[-1]
    named = labels[column].dropna().astype(str)
    return named[~named.index.duplicated(keep="last")]


def _whole_number(value: Any) -> int:
    number = int(value)
    if number != value or abs(number) >= 2**53:
        msg = f"cluster_id {value} is no whole number"
        raise ValueError(msg)
    return number


def _check_columns(path: Path, columns: list[str]) -> None:
    if "cluster_id" not in columns or len(columns) < 2:
        msg = f"{path} has columns {columns[:10]}; cluster_id and group are needed"
        raise FileFormatError(msg)


def _parameters(path: Path) -> dict[str, Any]:
    """Parse the assignments of ``params.py``, without running it."""
    if not path.exists():
        return {}
    found: dict[str, Any] = {}
    for line in re.split(r"\r\n|\r|\n", read_text(path)):
        name, equals, value = line.partition("=")
        if equals and name.strip() in PARAMETERS:
            try:
                found[name.strip()] = _value(value.strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
                msg = f"{path}: {line.strip()[:200]!r} is no plain value; write a number or a quoted text"
                raise FileFormatError(msg) from error
    if "sample_rate" in found:
        _check_rate(path, found["sample_rate"])
    return found


def _value(text: str) -> Any:
    """Return a number, text or list; a backslash in a text is one, as in folders of Windows, or two written for one."""
    quoted = re.fullmatch(r"(?:\w*Path\()?[rRuU]?(['\"])(.*?)\1\)?\s*(?:#.*)?", text)
    if quoted is not None:
        return quoted[2].replace("\\\\", "\\")
    return ast.literal_eval(text)


def _check_rate(path: Path, rate: Any) -> None:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < float("inf"):
        msg = f"{path}: a sample_rate of {rate!r} is none; write samples a second"
        raise FileFormatError(msg)
