"""A probe's published units against those that another sorting of the same recording found.

Two sortings of one recording never hold the same units: some are found again, some are not, some are new, and those
that are found again have moved a little. Which unit is which is told by their spikes alone (:mod:`.agreement`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import InvalidValueError, MissingDataError, UnknownNameError
from allen_ecephys.units.filter import UnitFilter

from .agreement import Agreement, agreement_of

if TYPE_CHECKING:
    import pandas as pd

    from allen_ecephys.session.session import EcephysSession

Int64 = npt.NDArray[np.int64]

#: What is compared of units that are the same: columns of a session's units.
QUANTITIES: Final = {
    "probe_vertical_position": "um",
    "waveform_amplitude": "uV",
    "waveform_duration": "ms",
    "waveform_halfwidth": "ms",
    "waveform_spread": "um",
    "firing_rate": "Hz",
    "snr": "",
    "isi_violations": "",
    "presence_ratio": "",
    "amplitude_cutoff": "",
    "max_drift": "um",
    "cumulative_drift": "um",
    "silhouette_score": "",
    "isolation_distance": "",
    "l_ratio": "",
    "d_prime": "",
    "nn_hit_rate": "",
    "nn_miss_rate": "",
}
#: Times that are further from a whole sample were not made of one.
OFF_A_SAMPLE: Final = 0.05
#: What becomes of a unit.
MATCHED, LOST, PARTIAL, NEW = "matched", "lost", "partial", "new"


class SampleClock(Protocol):
    """The session's clock in samples of a recording, as :class:`.ReleasedProbe` has it."""

    def samples(self, seconds: npt.ArrayLike, /) -> npt.NDArray[np.float64]:
        """Return the samples at session times (s), NaN where nothing was recorded."""
        ...


@dataclass(frozen=True, eq=False)
class SortingComparison:
    """Published units against found ones.

    Attributes
    ----------
    published
        One row a published unit (index ``published_unit``): ``status`` (``matched`` or ``lost``), ``found_unit``: the
        one it is matched with, or else the one that holds most of its spikes (missing where none holds any),
        ``agreement`` with it, ``spikes``, ``found_spikes``, ``spikes_in_common``, ``share_found`` (of its spikes) and
        ``share_of_found`` (of the found unit's), ``passes_filter``, and its columns among those compared.
    found
        One row a found unit (index ``found_unit``): ``status`` (``matched``; ``partial`` if it agrees by 0.2 or more
        with a published unit and is matched with none; else ``new``), ``published_unit``, ``agreement``,
        ``spikes``, ``passes_filter``, and its columns likewise.
    moved
        One row a matched pair (index ``published_unit``), columns (quantity, ``published`` | ``found`` | ``change``):
        everything that both tables hold of what is compared. Change is found less published.
    agreement
        Agreement of each pair, published x found.
    spikes_left_out
        Published spikes at times at which the recording that was sorted again did not run.

    Examples
    --------
    >>> again = compare_sortings(session, session, found_probe="probeA", published_probe="probeA")
    >>> again.counts()["matched"] == again.counts()["published"]
    True
    """

    published: pd.DataFrame
    found: pd.DataFrame
    moved: pd.DataFrame
    agreement: pd.DataFrame
    spikes_left_out: int

    def counts(self) -> dict[str, int]:
        """Return how many units are matched, lost, partial and new, and how many of them pass the default filter.

        Examples
        --------
        >>> counts = compare_sortings(session, session, found_probe="probeA", published_probe="probeA").counts()
        >>> counts["published"], counts["matched"], counts["lost"], counts["new"]
        (50, 50, 0, 0)
        """
        told = {"published": len(self.published), "found": len(self.found)}
        told |= {status: int((self.published["status"] == status).sum()) for status in (MATCHED, LOST)}
        told |= {status: int((self.found["status"] == status).sum()) for status in (PARTIAL, NEW)}
        good = self.published[self.published["passes_filter"]]
        told["published_passing_filter"] = len(good)
        told["matched_passing_filter"] = int((good["status"] == MATCHED).sum())
        told["new_passing_filter"] = int(((self.found["status"] == NEW) & self.found["passes_filter"]).sum())
        return told

    def movements(self) -> pd.DataFrame:
        """Return how far the matched units moved, one row a quantity.

        Columns: ``units`` for which both have a value, their median as ``published`` and as ``found``,
        ``median_change``, and ``within``: the absolute change that 90 % of them stay below.

        Examples
        --------
        >>> again = compare_sortings(session, session, found_probe="probeA", published_probe="probeA")
        >>> again.movements().loc[["firing_rate", "snr"], ["units", "median_change"]]
                     units  median_change
        quantity
        firing_rate     50            0.0
        snr             50            0.0
        """
        import pandas as pd

        rows = {}
        for quantity in self.moved.columns.unique(0):
            pairs = self.moved[quantity].dropna()
            size = pairs["change"].abs()
            rows[quantity] = {
                "units": len(pairs),
                "published": pairs["published"].median(),
                "found": pairs["found"].median(),
                "median_change": pairs["change"].median(),
                "within": size.quantile(0.9) if len(size) else np.nan,
            }
        columns = ["units", "published", "found", "median_change", "within"]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return table.rename_axis("quantity").astype({"units": int})


def compare_sortings(
    found: EcephysSession,
    published: EcephysSession,
    *,
    found_probe: int | str | None = None,
    published_probe: int | str | None = None,
    clock: SampleClock | None = None,
) -> SortingComparison:
    """Compare the published units of a probe with those of another sorting of the same recording.

    Every unit of both files counts, whatever filter the sessions have.

    Parameters
    ----------
    found
        The session that ``process run`` or ``process session`` made.
    published
        The published session.
    found_probe, published_probe
        Id or name of the probe; may be left out where a session has one only.
    clock
        Needed where the found times are those of the recording (samples over its probe's ``sampling_rate``, as
        ``process run`` writes them) and the published ones those of the session: what
        :func:`~allen_ecephys.processing.synchronization.open_released_probe` returns. None: both are on one clock.

    Raises
    ------
    InvalidValueError
        If a session has several probes and none is named, or a clock is given for found times that are not those of a
        recording.
    UnknownNameError
        If it has no such probe.
    MissingDataError
        If the two have no time in common in which both have spikes: they are not of one recording, or not on one clock.

    Examples
    --------
    >>> compare_sortings(found, published, published_probe="probeC").counts()  # doctest: +SKIP
    {'published': 120, 'found': 131, 'matched': 97, 'lost': 23, 'partial': 4, 'new': 30, ...}
    """
    first, second = _Probe.of(published, published_probe, "published"), _Probe.of(found, found_probe, "found")
    rate = second.sampling_rate
    samples = np.rint(first.seconds * rate if clock is None else clock.samples(first.seconds))
    found_samples = second.seconds * rate
    if clock is not None and np.abs(found_samples - np.rint(found_samples)).max(initial=0.0) > OFF_A_SAMPLE:
        msg = (
            f"times of {second.name} are no whole samples at {rate:g} Hz: they are already on the session's clock. "
            "Leave out the clock (raw data)"
        )
        raise InvalidValueError(msg)
    inside = _in_common(first.seconds, second.seconds) if clock is None else np.isfinite(samples)
    kept = inside & (samples >= 0)
    if first.seconds.size and not kept.any():
        msg = (
            f"no spike of {first.name} lies in the time of {second.name}: they are not of one recording, or not on "
            "one clock. For a probe of the release give clock=open_released_probe(cache.get_raw_data(...))"
        )
        raise MissingDataError(msg)
    within = second.seconds >= 0
    if clock is None:
        within &= _in_common(second.seconds, first.seconds)
    agreement = agreement_of(
        samples[kept].astype(np.int64), first.labels[kept],
        np.rint(found_samples[within]).astype(np.int64), second.labels[within],
        sampling_rate=rate, first_ids=first.units.index.to_numpy(), second_ids=second.units.index.to_numpy(),
    )  # fmt: skip
    return _told(agreement, first, second, int((~kept).sum()))


@dataclass(frozen=True, eq=False)
class _Probe:
    """Units of one probe of a session, and their spikes in one array."""

    name: str
    sampling_rate: float
    units: pd.DataFrame
    seconds: npt.NDArray[np.float64]
    labels: Int64

    @classmethod
    def of(cls, session: EcephysSession, probe: int | str | None, which: str) -> _Probe:
        every = session.with_units(UnitFilter.none())
        probe_id = _probe_id(session, probe, which)
        units = every.units
        units = units[units["probe_id"] == probe_id].sort_index()
        passing = session.with_units(UnitFilter()).units.index
        units = units.assign(passes_filter=units.index.isin(passing))
        trains = [every.spike_times[unit] for unit in units.index]
        return cls(
            name=f"{session.probes['description'][probe_id]} of the {which} session",
            sampling_rate=float(session.probes["sampling_rate"][probe_id]),
            units=units,
            seconds=np.concatenate(trains) if trains else np.empty(0),
            labels=np.repeat(units.index.to_numpy(np.int64), [len(train) for train in trains]),
        )


def _probe_id(session: EcephysSession, probe: int | str | None, which: str) -> int:
    probes = session.probes
    names = ", ".join(f"{name} ({probe_id})" for probe_id, name in probes["description"].items())
    if probe is None:
        if len(probes) != 1:
            msg = f"the {which} session has the probes {names}: say which one with {which}_probe=..."
            raise InvalidValueError(msg)
        return int(probes.index[0])
    fits = probes.index[(probes.index.astype(str) == str(probe)) | (probes["description"] == probe)]
    if len(fits) != 1:
        msg = f"the {which} session has no probe {probe!r}; it has {names}"
        raise UnknownNameError(msg)
    return int(fits[0])


def _in_common(times: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Tell which times lie between the first and the last of the others, with a spike's breadth around."""
    if not len(others):
        return np.ones(len(times), dtype=bool)
    return np.asarray((times >= others.min() - 1e-3) & (times <= others.max() + 1e-3))


def _told(agreement: Agreement, published: _Probe, found: _Probe, left_out: int) -> SortingComparison:
    table = agreement.table(agreement.scores, "published_unit", "found_unit")
    of_published = _of_published(agreement).join(_compared(published.units))
    of_found = _of_found(agreement).join(_compared(found.units))
    return SortingComparison(of_published, of_found, _moved(of_published, of_found), table, left_out)


def _compared(units: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    held = [name for name in QUANTITIES if name in units]
    table: pd.DataFrame = units[held].apply(pd.to_numeric, errors="coerce")
    return table.assign(passes_filter=units["passes_filter"])


def _of_published(agreement: Agreement) -> pd.DataFrame:
    import pandas as pd

    has = agreement.assigned >= 0
    most = agreement.matches.argmax(axis=1) if len(agreement.second_ids) else np.zeros(len(has), np.int64)
    partner = np.where(has, agreement.assigned, most)
    rows = np.arange(len(has))
    common = agreement.matches[rows, partner] if len(agreement.second_ids) else np.zeros(len(has), np.int64)
    any_common = common > 0

    def of_partner(values: npt.NDArray[Any], dtype: str) -> Any:
        taken = values[partner] if len(agreement.second_ids) else np.zeros(len(has), values.dtype)
        return pd.Series(taken, dtype=dtype).where(any_common).array

    score = agreement.scores[rows, partner] if len(agreement.second_ids) else np.zeros(len(has))
    sizes = of_partner(agreement.second_counts, "Int64")
    columns = {
        "status": np.where(has, MATCHED, LOST),
        "found_unit": of_partner(agreement.second_ids, "Int64"),
        "agreement": score,
        "spikes": agreement.first_counts,
        "found_spikes": sizes,
        "spikes_in_common": common,
        "share_found": _share(common, agreement.first_counts),
        "share_of_found": _share(common, np.asarray(sizes.fillna(0), dtype=np.int64)),
    }
    return pd.DataFrame(columns, index=pd.Index(agreement.first_ids, name="published_unit"))


def _of_found(agreement: Agreement) -> pd.DataFrame:
    import pandas as pd

    n = len(agreement.second_ids)
    partner = agreement.scores.argmax(axis=0) if len(agreement.first_ids) else np.zeros(n, np.int64)
    matched = np.zeros(n, dtype=bool)
    rows = np.flatnonzero(agreement.assigned >= 0)
    matched[agreement.assigned[rows]] = True
    partner[agreement.assigned[rows]] = rows
    score = agreement.scores[partner, np.arange(n)] if len(agreement.first_ids) else np.zeros(n)
    ids = agreement.first_ids[partner] if len(agreement.first_ids) else np.zeros(n, np.int64)
    columns = {
        "status": np.where(matched, MATCHED, np.where(agreement.unrelated, NEW, PARTIAL)),
        "published_unit": pd.Series(ids, dtype="Int64").where(score > 0).array,
        "agreement": score,
        "spikes": agreement.second_counts,
    }
    return pd.DataFrame(columns, index=pd.Index(agreement.second_ids, name="found_unit"))


def _share(common: Int64, of: Int64) -> npt.NDArray[np.float64]:
    return np.divide(common, of, out=np.zeros(len(common)), where=of > 0)


def _moved(published: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    same = published[published["status"] == MATCHED]
    theirs = found.loc[same["found_unit"].astype("int64")].set_axis(same.index)
    held = [name for name in QUANTITIES if name in published and name in found]
    parts = {
        name: pd.DataFrame(
            {"published": same[name], "found": theirs[name], "change": theirs[name] - same[name]}, index=same.index
        )
        for name in held
    }
    columns = pd.MultiIndex.from_product([held, ["published", "found", "change"]], names=["quantity", "of"])
    return pd.concat(parts, axis=1).set_axis(columns, axis=1) if held else pd.DataFrame(index=same.index)
