"""Arguments checked before any work: a value out of range is refused by its name, not after an hour of computing."""

from __future__ import annotations

import math
import numbers

from allen_ecephys.errors import InvalidValueError


def check_whole(name: str, value: object, *, least: int = 0, most: int | None = None) -> None:
    """Raise unless `value` is a whole number from `least` to `most`.

    Raises
    ------
    InvalidValueError
        Naming the argument, its value and the range.

    Examples
    --------
    >>> check_whole("seed", 3)
    >>> check_whole("seed", -1)
    Traceback (most recent call last):
    ...
    allen_ecephys.errors.InvalidValueError: seed is -1; give a whole number, 0 or more
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or not least <= int(value) or (most is not None and int(value) > most):  # type: ignore[call-overload]
        span = f"{least:,} or more" if most is None else f"{least:,} to {most:,}"
        msg = f"{name} is {value!r}; give a whole number, {span}"
        raise InvalidValueError(msg)


def check_positive(name: str, value: float) -> None:
    """Raise unless `value` is finite and above 0.

    Raises
    ------
    InvalidValueError
        Naming the argument and its value.
    """
    if not (value > 0 and math.isfinite(value)):
        msg = f"{name} is {value!r}; give a number above 0"
        raise InvalidValueError(msg)
