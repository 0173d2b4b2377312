"""The project cache, in a module of the name that it has in AllenSDK."""

from __future__ import annotations

from .cache.project_cache import EcephysProjectCache

__all__ = ["EcephysProjectCache"]
