"""Tables of stimuli that notice when a parameter is asked for as AllenSDK's text: ``'null'``, ``'0.08'``.

AllenSDK writes the text ``'null'`` where a presentation has no value of a parameter (a grey sweep has no orientation);
here the value is missing (NaN). ``table["orientation"] != "null"`` would then be true of every row, silently. In these
tables a comparison with that text tells missing values apart, as was meant, and warns. A column of numbers that is
compared with the text of one (AllenSDK's ``'0.08'``, ``'[20.0, 20.0]'``) is compared with the number, and warns too.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from ..errors import InvalidValueError
from .names import parsed
from .presentations import MISSING_TEXT

_QUOTED = re.compile(rf"""(["']){MISSING_TEXT}\1""")
_QUOTED_NUMBERS = re.compile(r"""(["'])(\[[-+.,\deE ]+\]|[-+]?[.\d][.\deE+-]*)\1""")


class StimulusColumn(pd.Series):
    """A column of a :class:`StimulusFrame`, or what was computed from one: a Series, but for ``== 'null'``."""

    @property
    def _constructor(self) -> Callable[..., StimulusColumn]:
        return StimulusColumn

    @property
    def _constructor_expanddim(self) -> Callable[..., StimulusFrame]:
        return StimulusFrame

    def __eq__(self, other: object) -> Any:
        return _missing(self, "==") if _is_text(other) else super().__eq__(_number(self, other, "=="))

    def __ne__(self, other: object) -> Any:
        return ~_missing(self, "!=") if _is_text(other) else super().__ne__(_number(self, other, "!="))

    __hash__ = None

    def eq(self, other: Any, *args: Any, **kwargs: Any) -> Any:
        """Compare as ``==`` does."""
        return _missing(self, "==") if _is_text(other) else super().eq(_number(self, other, "=="), *args, **kwargs)

    def ne(self, other: Any, *args: Any, **kwargs: Any) -> Any:
        """Compare as ``!=`` does."""
        return ~_missing(self, "!=") if _is_text(other) else super().ne(_number(self, other, "!="), *args, **kwargs)

    def isin(self, values: Iterable[Any]) -> Any:
        """Tell which values are among others; missing ones are where the text 'null' is among those."""
        wanted = []
        for value in values:
            wanted.append(_number(self, value, "isin"))  # in a loop, so that the warning names the line of whom asked
        if not any(map(_is_text, wanted)):
            return super().isin(wanted)
        return super().isin([v for v in wanted if not _is_text(v)]) | _missing(self, "isin")


class StimulusFrame(pd.DataFrame):
    """A table of presentations or conditions: a DataFrame, but for comparisons with ``'null'``."""

    @property
    def _constructor(self) -> Callable[..., StimulusFrame]:
        return StimulusFrame

    @property
    def _constructor_sliced(self) -> Callable[..., StimulusColumn]:
        return StimulusColumn

    def __eq__(self, other: object) -> Any:
        return _missing(self, "==") if _is_text(other) else super().__eq__(other)

    def __ne__(self, other: object) -> Any:
        return ~_missing(self, "!=") if _is_text(other) else super().__ne__(other)

    __hash__ = None

    def eval(self, expr: str, **kwargs: Any) -> Any:
        """Evaluate an expression (``query`` does too); one that asks for the text 'null', or of a number, is an error.

        Raises
        ------
        InvalidValueError
            Saying what to write instead.
        """
        if _QUOTED.search(expr):
            msg = (
                f"{expr!r} asks for the text 'null', and a missing parameter is NaN here: write orientation.isna() or "
                "orientation.notna() with the parameter's name"
            )
            raise InvalidValueError(msg)
        if text := _QUOTED_NUMBERS.search(expr):
            msg = f"{expr!r} asks for a text, and parameters are numbers here: write {parsed(text[2])!r} for {text[0]}"
            raise InvalidValueError(msg)
        kwargs["level"] = kwargs.get("level", 0) + 1  # where pandas looks for the caller's @names
        return super().eval(expr, **kwargs)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value == MISSING_TEXT


def _number(column: pd.Series, value: Any, operator: str) -> Any:
    """Return the number that a text says with which a column of numbers is compared, and warn; else the value."""
    if not isinstance(value, str) or not pd.api.types.is_numeric_dtype(column.dtype):
        return value
    number = parsed(value)
    if not isinstance(number, float):
        return value
    which = f"table[{column.name!r}]" if column.name is not None else "a column of numbers"
    msg = (
        f"{which} is compared with the text {value!r} ({operator}), as AllenSDK writes it. Here it holds numbers, and "
        f"{number!r} was taken: write that, or open the session with compat='allensdk'"
    )
    warnings.warn(msg, UserWarning, stacklevel=3)
    return number


def _missing(values: Any, operator: str) -> Any:
    name = getattr(values, "name", None)
    which = f"table[{name!r}]" if name is not None else "the table"
    instead = "notna()" if operator == "!=" else "isna()"
    msg = (
        f"{which} is compared with the text 'null' ({operator}), which AllenSDK writes for a missing parameter. Here "
        f"it is NaN, and was taken as that: write {which}.{instead}, or open the session with compat='allensdk'"
    )
    warnings.warn(msg, UserWarning, stacklevel=3)
    return values.isna()
