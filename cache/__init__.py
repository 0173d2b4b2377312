"""The project cache: the release's tables and NWB files, fetched on demand.

:class:`EcephysProjectCache` is the face. Names are resolved on first use, so that importing the room costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allen_ecephys.lazy_names import lazy_names

if TYPE_CHECKING:
    from .offline.plan import Selection
    from .population.population import Population
    from .project_cache import EcephysProjectCache
    from .raw_data import RawData, session_beside

__all__ = ["EcephysProjectCache", "Population", "RawData", "Selection", "session_beside"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "EcephysProjectCache": ".project_cache",
        "Population": ".population.population",
        "RawData": ".raw_data",
        "Selection": ".offline.plan",
        "session_beside": ".raw_data",
    },
)
