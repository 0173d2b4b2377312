"""Fetch, read and produce the Allen *Visual Coding - Neuropixels* recordings.

Three rooms, one package:

* :mod:`allen_ecephys` reads: :class:`EcephysSession`, a lazy view of one NWB file.
* :mod:`allen_ecephys.cache` fetches: :class:`EcephysProjectCache`, the project's files on demand.
* :mod:`allen_ecephys.processing` produces: raw probe data, or a simulation of it, to NWB files.

:mod:`allen_ecephys.plotting` draws, :mod:`allen_ecephys.errors` names what can go wrong. Names are resolved on first
use, so that ``import allen_ecephys`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import compiled_code
from .lazy_names import lazy_names
from .version import __version__

if TYPE_CHECKING:
    from .cache.project_cache import EcephysProjectCache
    from .nwb.converting import convert_nwb
    from .session.file import SessionCompanions
    from .session.session import EcephysSession
    from .units.filter import UnitFilter

__all__ = ["EcephysProjectCache", "EcephysSession", "SessionCompanions", "UnitFilter", "__version__", "convert_nwb"]

compiled_code.give_it_a_place()

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        # The cache is a room of its own, above this one: named here only, so that one line of import is enough.
        "EcephysProjectCache": ".cache.project_cache",
        "EcephysSession": ".session.session",
        "SessionCompanions": ".session.file",
        "UnitFilter": ".units.filter",
        "convert_nwb": ".nwb.converting",
    },
)
