"""Names, masks and rows where ids are asked for: what a user types first is understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.errors import InvalidTypeError, UnknownArgumentError, UnknownIdError, UnknownNameError
from allen_ecephys.units.regions import with_parts
from allen_ecephys.units.structures import STRUCTURE_IDS

EDGES = np.array([0.0, 0.1, 0.25])


@pytest.fixture
def session(write_session: Callable[..., Path], four_presentations: Mapping[str, Any]) -> EcephysSession:
    return EcephysSession(write_session(**four_presentations), unit_filter=UnitFilter.none())


def test_a_stimulus_by_its_name(session: EcephysSession) -> None:
    name = session.stimulus_names[0]
    ids = session.get_stimulus_table(name).index
    for chosen in (name, [name]):
        assert session.psth(EDGES, chosen).equals(session.psth(EDGES, ids))
        assert session.presentationwise_spike_counts(EDGES, chosen).equals(
            session.presentationwise_spike_counts(EDGES, ids)
        )
    with pytest.raises(UnknownNameError, match="shows no stimulus"):
        session.psth(EDGES, "flahses")


def test_masks_and_rows_stand_for_their_ids(session: EcephysSession) -> None:
    table = session.stimulus_presentations
    mask = table["stimulus_name"] == session.stimulus_names[0]
    expected = session.presentationwise_spike_counts(EDGES, table.index[mask.to_numpy()])
    assert session.presentationwise_spike_counts(EDGES, mask).equals(expected)
    assert session.presentationwise_spike_counts(EDGES, mask.to_numpy()).equals(expected)
    units = session.units.iloc[:2]
    assert session.psth(EDGES, None, units).unit_id.to_numpy().tolist() == units.index.tolist()
    with pytest.raises(InvalidTypeError, match="one value for each of"):
        session.presentationwise_spike_counts(EDGES, np.array([True]))


def test_single_bounds_change_the_present_filter(session: EcephysSession) -> None:
    view = session.with_units(presence_ratio_minimum=0.9)
    assert view.unit_filter == UnitFilter.none().replace(presence_ratio_minimum=0.9)
    with pytest.raises(UnknownArgumentError, match="did you mean"):
        session.with_units(presence_ratio_minimun=0.9)  # type: ignore[call-arg]
    with pytest.raises(UnknownArgumentError, match="once"):
        session.with_units(UnitFilter(), presence_ratio_minimum=0.9)


def test_a_probe_by_its_name(session: EcephysSession) -> None:
    with pytest.raises(UnknownIdError, match="no probe 'probeZ'; its probes are"):
        session.get_lfp("probeZ")
    name = str(session.probes["description"].iloc[0])
    assert session._file.probe_id(name) == session.probes.index[0]


def test_one_stimulus_answers(session: EcephysSession) -> None:
    with pytest.raises(InvalidTypeError, match="one stimulus"):
        session.responses([session.stimulus_names[0]])  # type: ignore[arg-type]


# --- units of a structure ---------------------------------------------------------------------------------------------


def test_units_of_structures_by_name_list_and_parent(session: EcephysSession) -> None:
    held = session.units["ecephys_structure_acronym"]
    name = str(held.dropna().iloc[0])
    for chosen in (name, [name], (name, name)):
        assert session.with_units(structures=chosen).units.index.tolist() == held.index[held == name].tolist()
    assert session.with_units(structures=name).unit_filter.describe() == f"in {name}"
    assert session.with_units(structures=name).with_units(structures=None).num_units == session.num_units


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("VISp", [True, False, False, False, False, False, False]),
        (["VISp", "LP"], [True, False, False, True, False, False, False]),
        ("TH", [False, False, True, True, False, False, False]),
        ("HPF", [False, False, False, False, True, False, False]),
        (("VIS", "MOp"), [True, True, False, False, False, True, False]),
    ],
)
def test_a_parent_stands_for_what_lies_in_it(names: Any, expected: list[bool]) -> None:
    acronyms = ["VISp", "VISrl", "LGd-sh", "LP", "CA1", "MOp", None]
    units = pd.DataFrame({"ecephys_structure_acronym": acronyms})
    kept = UnitFilter.none().replace(structures=names)
    assert kept.mask(units).tolist() == expected


def test_a_structure_that_there_is_not(session: EcephysSession) -> None:
    with pytest.raises(UnknownNameError, match="no unit lies in 'VISP'; did you mean 'VISp'"):
        _ = session.with_units(structures="VISP")
    with pytest.raises(InvalidTypeError, match="acronyms such as 'VISp'"):
        session.with_units(structures=[385])  # type: ignore[list-item]
    with pytest.raises(InvalidTypeError, match="or None for all"):
        UnitFilter(structures=[])
    assert session.with_units(structures="MGv").num_units == 0  # the release has it, this session no unit of it


def test_every_listed_structure_has_a_parent() -> None:
    everything = with_parts(["Isocortex", "HPF", "OLF", "CTXsp", "STR", "TH", "HY", "MB"])
    assert set(STRUCTURE_IDS) - everything == {"grey"}


def test_where_units_lie_stands_beside_their_rates(session: EcephysSession) -> None:
    psth = session.psth(EDGES, session.stimulus_names[0])
    held = session.units["ecephys_structure_acronym"]
    assert psth["ecephys_structure_acronym"].to_series().astype(str).tolist() == held.astype(str).tolist()
