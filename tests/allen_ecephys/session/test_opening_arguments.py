"""What is wrong with an argument of an opening is said when it is opened, not inside the first table."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.errors import InvalidTypeError, InvalidValueError, UnknownArgumentError, UnknownNameError
from allen_ecephys.session.session import SessionCompanions

Write = Callable[..., Path]

WRONG: list[tuple[Mapping[str, Any], type[Exception], str]] = [
    ({"unit_filter": "VISp"}, InvalidTypeError, "must be a UnitFilter"),
    ({"unit_filter": {"valid_only": False}}, InvalidTypeError, "must be a UnitFilter"),
    ({"unit_filter": UnitFilter.none}, InvalidTypeError, "must be a UnitFilter"),
    ({"unit_filter": UnitFilter(structures="V1")}, UnknownNameError, "no unit lies in 'V1'; did you mean 'VISp'"),
    ({"unit_filter": UnitFilter(structures=["VISp", "LGN"])}, UnknownNameError, "did you mean 'LGd'"),
    ({"companions": {}}, InvalidTypeError, "companions must be SessionCompanions"),
    ({"compat": "AllenSDK"}, UnknownNameError, "compat must be None or 'allensdk'"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_arguments_of_a_session(
    write_session: Write, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    path = write_session(spike_times=[[1.0], [2.0]])
    with pytest.raises(error, match=message):
        EcephysSession(path, **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"api_kwargs": ["presence_ratio_minimum"]}, InvalidTypeError, "by name are a dict"),
        ({"api_kwargs": UnitFilter()}, InvalidTypeError, "by name are a dict"),
        ({"api_kwargs": {"presence_ratio": 1}}, UnknownArgumentError, "did you mean 'presence_ratio_minimum'"),
        ({"api_kwargs": {"structures": "V1"}}, UnknownNameError, "did you mean 'VISp'"),
        ({"nwb_version": UnitFilter()}, InvalidValueError, "only NWB 2"),
    ],
)
def test_arguments_of_allensdks_opening(
    write_session: Write, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    path = write_session(spike_times=[[1.0], [2.0]])
    with pytest.raises(error, match=message):
        EcephysSession.from_nwb_path(path, **arguments)


def test_a_structure_of_the_tree_costs_no_look_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "no.nwb").write_bytes(b"nothing to read")
    EcephysSession(tmp_path / "no.nwb", unit_filter=UnitFilter(structures=["VISp", "TH"]))


@pytest.mark.parametrize("source", [None, 715093703, ["a.nwb"], b"a.nwb", io.StringIO("text")])
def test_what_is_no_source(source: Any) -> None:
    with pytest.raises(InvalidTypeError, match="path"):
        EcephysSession(source)


def test_what_is_no_filter() -> None:
    for bounds in ({"valid_only": "no"}, {"in_brain_only": None}, {"structures": {"VISp": True}}, {"structures": []}):
        with pytest.raises(InvalidTypeError, match=next(iter(bounds))):
            UnitFilter(**bounds)
    with pytest.raises(InvalidTypeError, match="channels must be a function"):
        SessionCompanions(channels=pd.DataFrame())  # type: ignore[arg-type]
