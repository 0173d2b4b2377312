"""Import paths that older documentation named."""

from __future__ import annotations

import importlib
import sys

import pytest

import allen_ecephys.processing


def test_the_former_home_of_sort_raw_hands_it_on_and_says_so() -> None:
    sys.modules.pop("allen_ecephys.processing.sorting.probe", None)
    former = importlib.import_module("allen_ecephys.processing.sorting.probe")
    with pytest.warns(DeprecationWarning, match="from allen_ecephys.processing import sort_raw"):
        found = former.sort_raw
    assert found is allen_ecephys.processing.sort_raw
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = former.nothing
