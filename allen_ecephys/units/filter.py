"""Which units are shown: the quality filter, one object for session tables and cache tables alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypedDict

from ..errors import (
    FileFormatError,
    InvalidTypeError,
    InvalidValueError,
    UnknownArgumentError,
    explains_unknown_names,
    suggest,
)
from .regions import acronyms_of, are_in_the_tree, check_known, lie_in

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Spellings of "no structure" found in released files and tables.
OUT_OF_BRAIN = frozenset({"", "None", "none", "nan"})

#: AllenSDK's spelling of a filter argument -> ours.
ALLENSDK_ARGUMENTS = {
    "amplitude_cutoff_maximum": "amplitude_cutoff_maximum",
    "presence_ratio_minimum": "presence_ratio_minimum",
    "isi_violations_maximum": "isi_violations_maximum",
    "filter_by_validity": "valid_only",
    "filter_out_of_brain_units": "in_brain_only",
}


class UnitBounds(TypedDict, total=False):
    """Bounds of a :class:`UnitFilter` as keyword arguments, under AllenSDK's names.

    What is left out has the default of :class:`UnitFilter`; None turns a bound off. ``filter_by_validity`` stands
    before them in AllenSDK's signatures, and so in ours.
    """

    amplitude_cutoff_maximum: float | None
    presence_ratio_minimum: float | None
    isi_violations_maximum: float | None
    filter_out_of_brain_units: bool
    structures: str | Iterable[str] | None


@explains_unknown_names
@dataclass(frozen=True)
class UnitFilter:
    """Thresholds a unit must pass to be shown.

    The defaults are those of the data release (AllenSDK documentation, *Visual Coding - Neuropixels*, "Quality
    metrics"): bounds are inclusive, so a unit with a presence ratio of exactly 0.95 is kept. A unit whose metric is
    NaN fails a bound that is on and passes one that is off. Zero is a bound like any other; ``None`` turns a bound off.

    Parameters
    ----------
    presence_ratio_minimum
        Smallest fraction of the recording in which the unit spikes (0 to 0.99), or None.
    isi_violations_maximum
        Largest relative firing rate of hypothetical neurons that cause refractory-period violations, or None.
    amplitude_cutoff_maximum
        Largest estimated fraction of spikes lost below the detection threshold (0 to 0.5), or None.
    valid_only
        Keep only units labelled ``good`` whose peak channel holds valid data.
    in_brain_only
        Keep only units whose peak channel lies in a brain structure.
    structures
        Keep only units in these: ``"VISp"``, a list, or a parent such as ``"VIS"``, ``"TH"`` or ``"HPF"``, which stands
        for all that lie in it. None: all.

    Examples
    --------
    >>> loose = UnitFilter(presence_ratio_minimum=0.9, isi_violations_maximum=None)
    >>> loose.describe()
    'presence_ratio >= 0.9, amplitude_cutoff <= 0.1, valid, in brain'
    >>> session.with_units(loose).num_units
    50
    >>> session.with_units(UnitFilter(structures=["VISp", "VISam"])).num_units
    10
    >>> session.with_units(structures="TH").units["ecephys_structure_acronym"].unique().tolist()  # and its nuclei
    ['TH', 'LP', 'LGd']
    >>> UnitFilter(presence_ratio=0.9)
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.UnknownArgumentError: UnitFilter has no 'presence_ratio'...
    """

    presence_ratio_minimum: float | None = 0.95
    isi_violations_maximum: float | None = 0.5
    amplitude_cutoff_maximum: float | None = 0.1
    valid_only: bool = True
    in_brain_only: bool = True
    structures: str | Iterable[str] | None = None

    def __post_init__(self) -> None:
        for name in ("presence_ratio_minimum", "isi_violations_maximum", "amplitude_cutoff_maximum"):
            bound = getattr(self, name)
            if bound is None:
                continue
            if isinstance(bound, bool) or not isinstance(bound, (int, float)) or math.isnan(bound):
                msg = f"{name} must be a number, or None to turn the bound off; got {bound!r}"
                raise InvalidValueError(msg)
        for name in ("valid_only", "in_brain_only"):
            if not _is_yes_or_no(getattr(self, name)):
                msg = f"{name} must be True or False; got {getattr(self, name)!r}"
                raise InvalidTypeError(msg)
        if self.structures is not None:
            object.__setattr__(self, "structures", acronyms_of(self.structures))

    @classmethod
    def none(cls) -> UnitFilter:
        """Return the filter that shows every unit of the file.

        Examples
        --------
        >>> session.with_units(UnitFilter.none()).num_units
        150
        """
        return cls(None, None, None, valid_only=False, in_brain_only=False)

    @classmethod
    def from_allensdk(cls, arguments: Mapping[str, Any], default: UnitFilter | None = None) -> UnitFilter:
        """Return the filter that AllenSDK's keyword arguments describe; a :class:`UnitFilter`'s own names do as well.

        Bounds that are not named are those of `default`, by default of ``UnitFilter()``.

        Raises
        ------
        UnknownArgumentError
            For a name that is no filter argument (AllenSDK ignores those silently), or one bound under both names.

        Examples
        --------
        >>> UnitFilter.from_allensdk({"presence_ratio_minimum": None, "filter_out_of_brain_units": False}).describe()
        'isi_violations <= 0.5, amplitude_cutoff <= 0.1, valid'
        """
        given: object = arguments
        if not isinstance(given, Mapping):
            msg = f"unit filters by name are a dict, such as {{'presence_ratio_minimum': None}}; got {arguments!r:.200}"
            raise InvalidTypeError(msg)
        known = {field.name for field in fields(cls)} | set(ALLENSDK_ARGUMENTS)
        for name in arguments:
            if name not in known:
                msg = f"{name!r} is not a unit filter{suggest(name, known) or '.'} Known: {', '.join(sorted(known))}"
                raise UnknownArgumentError(msg)
            ours = ALLENSDK_ARGUMENTS.get(name, name)
            if ours != name and ours in arguments:
                msg = f"{name!r} and {ours!r} are one filter under two names: give one of them"
                raise UnknownArgumentError(msg)
        bounds = {ALLENSDK_ARGUMENTS.get(name, name): value for name, value in arguments.items()}
        return replace(default or cls(), **bounds)

    @classmethod
    def chosen(
        cls, unit_filter: UnitFilter | None, arguments: Mapping[str, Any], default: UnitFilter | None = None
    ) -> UnitFilter:
        """Return the filter that a caller gave whole, or as single bounds under AllenSDK's names.

        Bounds that are not named are those of `default`, by default of ``UnitFilter()``.

        Raises
        ------
        UnknownArgumentError
            For a name that is no bound, or where the filter is given both ways.

        Examples
        --------
        >>> UnitFilter.chosen(None, {"isi_violations_maximum": 0.1}).isi_violations_maximum
        0.1
        """
        default = default or cls()
        described = cls.from_allensdk(arguments, default)
        if unit_filter is None:
            return described
        checked_filter(unit_filter)
        if described != default:
            msg = (
                "give the unit filter once: whole, as unit_filter, or as single bounds, not both; "
                "unit_filter.replace(...) changes a bound"
            )
            raise UnknownArgumentError(msg)
        return unit_filter

    def replace(self, **changes: Any) -> UnitFilter:
        """Return a copy with some bounds changed.

        Examples
        --------
        >>> UnitFilter().replace(amplitude_cutoff_maximum=0.05).describe()
        'presence_ratio >= 0.95, isi_violations <= 0.5, amplitude_cutoff <= 0.05, valid, in brain'
        """
        return replace(self, **changes)

    def check_names(self, table: Callable[[], pd.DataFrame | None]) -> None:
        """Refuse structures that are neither in the tree of structures nor in a table of units or channels.

        Parameters
        ----------
        table
            Gives the table, or None if it cannot be had; asked only for names that are not in the tree.

        Raises
        ------
        UnknownNameError
            With the structures that there are.

        Examples
        --------
        >>> UnitFilter(structures="VISp").check_names(lambda: session.units)
        >>> UnitFilter(structures="V1").check_names(lambda: session.units)
        Traceback (most recent call last):
            ...
        allen_ecephys.errors.UnknownNameError: no unit lies in 'V1'; did you mean 'VISp'?...
        """
        if self.structures is None or are_in_the_tree(self.structures):
            return
        held = table()
        if held is not None:
            check_known(self.structures, _column(held, "ecephys_structure_acronym", "structures"))

    def failures(self, units: pd.DataFrame) -> dict[str, np.ndarray]:
        """Tell for each bound that is on which rows fail it.

        Parameters
        ----------
        units
            One row a unit. Needs the metric column of each bound that is on, and ``ecephys_structure_acronym`` for
            `in_brain_only`. ``quality`` and ``valid_data`` are judged where the table has them: the release's unit
            tables already leave noise units out.

        Returns
        -------
        dict
            Name of the bound -> boolean array of length ``len(units)``, True where the unit fails.

        Raises
        ------
        FileFormatError
            If the table lacks a column that a bound needs.

        Examples
        --------
        >>> everyone = session.with_units(UnitFilter.none()).units
        >>> failed = UnitFilter().failures(everyone)
        >>> list(failed)
        ['presence_ratio_minimum', 'isi_violations_maximum', 'amplitude_cutoff_maximum', 'valid_only', 'in_brain_only']
        >>> int(failed["presence_ratio_minimum"].sum())
        31
        """
        import numpy as np

        failed: dict[str, np.ndarray] = {}
        for name, column, keeps in (
            ("presence_ratio_minimum", "presence_ratio", np.greater_equal),
            ("isi_violations_maximum", "isi_violations", np.less_equal),
            ("amplitude_cutoff_maximum", "amplitude_cutoff", np.less_equal),
        ):
            bound = getattr(self, name)
            if bound is not None:
                metric = _column(units, column, name).to_numpy(dtype=float, na_value=np.nan)
                failed[name] = ~keeps(metric, bound)  # NaN compares False and so fails
        if self.valid_only:
            bad = np.zeros(len(units), dtype=bool)
            if "quality" in units:
                bad |= (units["quality"] != "good").to_numpy(dtype=bool, na_value=True)
            if "valid_data" in units:
                bad |= ~units["valid_data"].to_numpy(dtype=bool, na_value=False)
            failed["valid_only"] = bad
        if self.in_brain_only:
            acronym = _column(units, "ecephys_structure_acronym", "in_brain_only")
            outside = acronym.isna() | acronym.isin(list(OUT_OF_BRAIN))
            failed["in_brain_only"] = outside.to_numpy(dtype=bool)
        if self.structures is not None:
            acronym = _column(units, "ecephys_structure_acronym", "structures")
            failed["structures"] = ~np.array(lie_in(acronym, self.structures), dtype=bool)
        return failed

    def mask(self, units: pd.DataFrame) -> np.ndarray:
        """Return True for each row that passes every bound that is on (see :meth:`failures`).

        Raises
        ------
        UnknownNameError
            For one of `structures` that is neither in the table nor in the tree of structures.

        Examples
        --------
        >>> everyone = session.with_units(UnitFilter.none()).units
        >>> int(UnitFilter().mask(everyone).sum())
        40
        """
        import numpy as np

        if self.structures is not None and len(units):
            check_known(self.structures, _column(units, "ecephys_structure_acronym", "structures"))
        kept = np.ones(len(units), dtype=bool)
        for failed in self.failures(units).values():
            kept &= ~failed
        return kept

    def describe(self) -> str:
        """Return the bounds that are on in one short line.

        Examples
        --------
        >>> UnitFilter().describe()
        'presence_ratio >= 0.95, isi_violations <= 0.5, amplitude_cutoff <= 0.1, valid, in brain'
        """
        bounds = [
            f"presence_ratio >= {self.presence_ratio_minimum:g}" if self.presence_ratio_minimum is not None else "",
            f"isi_violations <= {self.isi_violations_maximum:g}" if self.isi_violations_maximum is not None else "",
            f"amplitude_cutoff <= {self.amplitude_cutoff_maximum:g}"
            if self.amplitude_cutoff_maximum is not None
            else "",
            "valid" if self.valid_only else "",
            "in brain" if self.in_brain_only else "",
            f"in {', '.join(self.structures)}" if self.structures is not None else "",
        ]
        return ", ".join(b for b in bounds if b) or "no filter"


def _is_yes_or_no(value: object) -> bool:
    if isinstance(value, bool):
        return True
    import numpy as np

    return isinstance(value, np.bool_)


def checked_filter(unit_filter: object) -> UnitFilter:
    """Return a unit filter; anything else is a TypeError."""
    if not isinstance(unit_filter, UnitFilter):
        msg = f"unit_filter must be a UnitFilter, such as UnitFilter(presence_ratio_minimum=None); got {unit_filter!r}"
        raise InvalidTypeError(msg)
    return unit_filter


def _column(units: pd.DataFrame, column: str, bound: str) -> pd.Series[Any]:
    if column not in units:
        msg = (
            f"the units table has no column {column!r}, which the filter bound {bound!r} needs. "
            f"Turn it off to see these units: UnitFilter({bound}={'False' if bound == 'in_brain_only' else 'None'})"
        )
        raise FileFormatError(msg)
    return units[column]
