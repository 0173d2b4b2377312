"""Public faces: what a folder names in ``__all__`` is there, documented, and found when asked for."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.mark.parametrize("folder", ["allen_ecephys", "allen_ecephys.plotting", "allen_ecephys.errors"])
def test_public_names_are_there_and_documented(folder: str) -> None:
    module = import_module(folder)
    assert sorted(module.__all__) == module.__all__
    assert set(module.__all__) <= {*dir(module), "__version__"}
    for name in module.__all__:
        value = getattr(module, name)
        if name != "__version__":
            assert value.__doc__, name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name
