"""One door to all sorters: the native one, and any that SpikeInterface knows, by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final

from allen_ecephys.errors import InvalidValueError, UnknownNameError, suggest

from ..recording import Recording
from .parameters import SortingParameters
from .result import SortingResult
from .silence import tell_of_silences

#: What a caller may give: the native sorter's parameters, or names and values of any sorter's.
Parameters = SortingParameters | Mapping[str, Any] | None
NATIVE: Final = "native"


def _sort_native(recording: Recording, folder: Path, parameters: Parameters) -> SortingResult:
    from .native import sort_native

    return sort_native(recording, folder, native_parameters(parameters))


#: Sorters that run in this process; every other name is looked for in SpikeInterface.
SORTERS: dict[str, Callable[[Recording, Path, Parameters], SortingResult]] = {NATIVE: _sort_native}


def available_sorters(python: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the names that :func:`run_sorter` can run here.

    Parameters
    ----------
    python
        Interpreter whose SpikeInterface is asked; by default the setting ``ALLEN_ECEPHYS_SORTER_PYTHON``, else this
        one. Without SpikeInterface only the native sorter is listed.

    Examples
    --------
    >>> "native" in available_sorters()
    True
    """
    from .external import installed_sorters

    return [*SORTERS, *(name for name in installed_sorters(python) if name not in SORTERS)]


def check_sorter(
    sorter: str = NATIVE, parameters: Parameters = None, *, python: str | os.PathLike[str] | None = None
) -> None:
    """Raise at once what :func:`run_sorter` would raise about the sorter's name, its parameters or the interpreter.

    Raises
    ------
    UnknownNameError, MissingExtraError, SortingError
        As :func:`run_sorter`.
    """
    if sorter == NATIVE:
        native_parameters(parameters)
    elif sorter not in SORTERS:
        from .external import check_external

        check_external(sorter, _own_parameters(sorter, parameters), python=python, known=SORTERS)


def run_sorter(
    recording: Recording,
    folder: str | os.PathLike[str],
    sorter: str = NATIVE,
    parameters: Parameters = None,
    *,
    python: str | os.PathLike[str] | None = None,
) -> SortingResult:
    """Sort a recording.

    Parameters
    ----------
    recording
        Spike band of a probe, medians subtracted, not filtered.
    folder
        Folder for checkpoints and other files of the run, which `result` may map: keep it while the result is in use. A
        run that was stopped goes on in it.
    sorter
        ``"native"``, or a sorter of SpikeInterface (``"kilosort4"``, ``"spykingcircus2"``, ...), which runs in a
        process of its own.
    parameters
        :class:`SortingParameters`, or a mapping of the sorter's own names to values; what is not named keeps its
        default.
    python
        Interpreter that SpikeInterface and its sorter are installed for; by default the setting
        ``ALLEN_ECEPHYS_SORTER_PYTHON``, else this one.

    Raises
    ------
    UnknownNameError
        If there is no such sorter or parameter.
    MissingExtraError
        If the sorter, or SpikeInterface, is not installed for that interpreter.
    SortingError
        If the sorter fails.
    TooFewChannelsError
        If fewer than four channels can be sorted.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    if sorter in SORTERS:
        result = SORTERS[sorter](recording, place, parameters)
    else:
        from .external import run_external

        own = _own_parameters(sorter, parameters)
        result = run_external(recording, place, sorter, own, python=python, known=SORTERS)
    tell_of_silences(result, recording)
    return result


def _own_parameters(sorter: str, parameters: Parameters) -> dict[str, Any]:
    if isinstance(parameters, SortingParameters):
        msg = f"SortingParameters are the native sorter's; name parameters of {sorter} in a mapping"
        raise InvalidValueError(msg)
    return dict(parameters or {})


def native_parameters(given: Parameters) -> SortingParameters:
    """Return the native sorter's parameters from names and values, numbers checked and converted.

    Raises
    ------
    UnknownNameError
        If there is no such parameter, or its value is of another kind.
    """
    if given is None or isinstance(given, SortingParameters):
        return given or SortingParameters()
    defaults = SortingParameters()
    known = [field.name for field in fields(SortingParameters)]
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            msg = f"the native sorter has no parameter {name!r}{suggest(name, known)}; there are {', '.join(known)}"
            raise UnknownNameError(msg)
        chosen[name] = _like(getattr(defaults, name), value, name)
    return SortingParameters(**chosen)


def _like(default: Any, value: Any, name: str) -> Any:
    """Return `value` as a number, tuple of numbers or word, of the default's type."""
    if isinstance(default, tuple):
        if not isinstance(value, tuple | list) or len(value) != len(default):
            msg = f"{name} is {value!r}; it takes {len(default)} numbers, as in {name}={','.join(map(str, default))}"
            raise InvalidValueError(msg)
        return tuple(_like(part, number, name) for part, number in zip(default, value, strict=True))
    if isinstance(default, str):
        return value  # SortingParameters knows which words there are
    if isinstance(default, bool):
        if value not in (0, 1):
            msg = f"{name} is {value!r}; it is True or False, by default {default!r}"
            raise InvalidValueError(msg)
        return bool(value)
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        msg = f"{name} is {value!r}; it takes a {'whole ' if whole else ''}number, by default {default!r}"
        raise InvalidValueError(msg)
    return type(default)(value)
