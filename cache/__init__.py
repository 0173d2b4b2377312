"""The project cache: the release's tables and NWB files, fetched on demand.

:class:`EcephysProjectCache` is the face. Names are resolved on first use, so that importing the room costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .planning import Selection
    from .project_cache import EcephysProjectCache

__all__ = ["EcephysProjectCache", "Selection"]

_PLACES = {"EcephysProjectCache": "project_cache", "Selection": "planning"}


def __getattr__(name: str) -> Any:
    """Import a public class when it is first asked for."""
    if name not in __all__:
        msg = f"module 'allen_ecephys.cache' has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f".{_PLACES[name]}", __name__), name)
