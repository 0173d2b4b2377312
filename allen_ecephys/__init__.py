"""Fetch, read and produce the Allen *Visual Coding - Neuropixels* recordings.

Three rooms, one package:

* :mod:`allen_ecephys` reads: :class:`EcephysSession`, a lazy view of one NWB file.
* :mod:`allen_ecephys.cache` fetches: :class:`EcephysProjectCache`, the project's files on demand.
* :mod:`allen_ecephys.processing` produces: raw probe data, or a simulation of it, to NWB files.

Names are resolved on first use, so that ``import allen_ecephys`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allen_ecephys.cache import EcephysProjectCache
    from allen_ecephys.session import EcephysSession
    from allen_ecephys.units import UnitFilter

__all__ = ["EcephysProjectCache", "EcephysSession", "UnitFilter", "__version__"]

__version__ = "0.1.0"

_HOME_OF = {
    "EcephysProjectCache": "allen_ecephys.cache",
    "EcephysSession": "allen_ecephys.session",
    "UnitFilter": "allen_ecephys.units",
}


def __getattr__(name: str) -> Any:
    """Import a public class from its room when it is first asked for."""
    if name not in _HOME_OF:
        msg = f"module 'allen_ecephys' has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
