"""The switch to AllenSDK's answers, where those of this package differ on purpose."""

from __future__ import annotations

from typing import Literal

from .errors import UnknownNameError, suggest

#: None for the answers of this package, ``"allensdk"`` for AllenSDK's.
Compatibility = Literal["allensdk"] | None


def is_compatible(compat: Compatibility) -> bool:
    """Tell whether AllenSDK's answers are asked for.

    Raises
    ------
    UnknownNameError
        For anything but None and ``"allensdk"``.
    """
    if compat not in {None, "allensdk"}:
        msg = f"compat must be None or 'allensdk'; got {compat!r}{suggest(str(compat), ['allensdk'])}"
        raise UnknownNameError(msg)
    return compat == "allensdk"
