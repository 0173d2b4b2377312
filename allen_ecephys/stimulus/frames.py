"""Tables of stimuli that notice when a missing parameter is asked for as AllenSDK's text ``'null'``.

AllenSDK writes the text ``'null'`` where a presentation has no value of a parameter (a grey sweep has no orientation);
here the value is missing (NaN). ``table["orientation"] != "null"`` would then be true of every row, silently. In these
tables a comparison with that text tells missing values apart, as was meant, and warns.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from ..errors import InvalidValueError
from .presentations import MISSING_TEXT

_QUOTED = re.compile(rf"""(["']){MISSING_TEXT}\1""")


class StimulusColumn(pd.Series):
    """A column of a :class:`StimulusFrame`, or what was computed from one: a Series, but for ``== 'null'``."""

    @property
    def _constructor(self) -> Callable[..., StimulusColumn]:
        return StimulusColumn

    @property
    def _constructor_expanddim(self) -> Callable[..., StimulusFrame]:
        return StimulusFrame

    def __eq__(self, other: object) -> Any:
        return _missing(self, "==") if _is_text(other) else super().__eq__(other)

    def __ne__(self, other: object) -> Any:
        return ~_missing(self, "!=") if _is_text(other) else super().__ne__(other)

    __hash__ = None

    def eq(self, other: Any, *args: Any, **kwargs: Any) -> Any:
        """Compare as ``==`` does."""
        return _missing(self, "==") if _is_text(other) else super().eq(other, *args, **kwargs)

    def ne(self, other: Any, *args: Any, **kwargs: Any) -> Any:
        """Compare as ``!=`` does."""
        return ~_missing(self, "!=") if _is_text(other) else super().ne(other, *args, **kwargs)

    def isin(self, values: Iterable[Any]) -> Any:
        """Tell which values are among others; missing ones are where the text 'null' is among those."""
        wanted = list(values)
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
        """Evaluate an expression (``query`` does too); one that asks for the text 'null' is an error.

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
        kwargs["level"] = kwargs.get("level", 0) + 1  # where pandas looks for the caller's @names
        return super().eval(expr, **kwargs)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value == MISSING_TEXT


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
