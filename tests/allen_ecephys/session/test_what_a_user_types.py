"""Names, masks and rows where ids are asked for: what a user types first is understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.errors import InvalidTypeError, UnknownArgumentError, UnknownIdError, UnknownNameError

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
    assert session.psth(EDGES, None, units).unit_id.values.tolist() == units.index.tolist()
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
