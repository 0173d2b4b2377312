"""Public names of a package that are imported when they are first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package whose public names live in its modules.

    Parameters
    ----------
    package
        ``__name__`` of the package.
    homes
        Public name -> module that defines it, relative (``.project_cache``) or absolute.

    Examples
    --------
    >>> getattr_, dir_ = lazy_names("allen_ecephys", {"UnitFilter": ".units.filter"})
    >>> dir_()
    ['UnitFilter']
    """

    def get(name: str) -> Any:
        if name not in homes:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = getattr(import_module(homes[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted(homes)
