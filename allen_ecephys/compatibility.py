"""The switch to AllenSDK's answers, where those of this package differ on purpose."""

from __future__ import annotations

import warnings
from typing import Any, Literal

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


def without_effect(**arguments: Any) -> None:
    """Warn of arguments of AllenSDK that were given and have no effect here.

    Parameters
    ----------
    arguments
        Their names and values; None for those not given.

    Warns
    -----
    DeprecationWarning
        Naming them, once a call.
    """
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        msg = f"{', '.join(given)}: taken for code written for AllenSDK, and without effect; leave out"
        warnings.warn(msg, DeprecationWarning, stacklevel=3)
