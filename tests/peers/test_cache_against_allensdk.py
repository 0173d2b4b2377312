"""AllenSDK's project cache and ours, on copies of the same released files: every table, cell by cell, exactly.

Differences that are meant stand here and nowhere else:

* columns that AllenSDK does not have: the one name of what it calls differently from table to table (its own names are
  all there too, with the same values);
* CCF coordinates of channels that were never registered are NaN, not -1000;
* a probe without channels has no structures, where AllenSDK says 0;
* rows come in the order of the file; AllenSDK's joins reorder those of probes and units;
* decimals are read exactly; the pandas that AllenSDK pins misses some by an ulp or two (relative 1e-15 is allowed);
* the index of annotated metrics has a name.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.units.filter import UnitFilter

pytestmark = pytest.mark.peers

CCF = ("anterior_posterior_ccf_coordinate", "dorsal_ventral_ccf_coordinate", "left_right_ccf_coordinate")
OURS_ONLY = {
    "sessions": set(),
    "probes": {"full_genotype"},
    "channels": {
        "probe_name", "probe_phase", "probe_sampling_rate", "probe_lfp_sampling_rate", "full_genotype", "name",
    },
    "units": {
        "probe_name", "probe_phase", "probe_sampling_rate", "probe_lfp_sampling_rate", "peak_channel", "full_genotype",
    },
}  # fmt: skip
KINDS = ("brain_observatory_1.1", "functional_connectivity")
#: AllenSDK's infinite bounds still drop units whose metric is NaN; so do ours.
UNFILTERED = UnitFilter(-np.inf, np.inf, np.inf)

CALLS = {
    "sessions": lambda c: c.get_session_table(),
    "sessions_all": lambda c: c.get_session_table(suppress=[]),
    "probes": lambda c: c.get_probes(),
    "probes_all": lambda c: c.get_probes(suppress=[]),
    "channels": lambda c: c.get_channels(),
    "channels_all": lambda c: c.get_channels(suppress=[]),
    "units": lambda c: c.get_units(),
    "units_all": lambda c: c.get_units(suppress=[]),
    "units_unfiltered": lambda c: c.get_units(unit_filter=UNFILTERED),
    "units_with_noise": lambda c: c.get_units(filter_by_validity=False),
    "units_of_low_snr": lambda c: c.get_units(isi_violations_maximum=0, presence_ratio_minimum=0.5),
    "metrics_session": lambda c: c.get_unit_analysis_metrics_for_session(732592105, names="release"),
    **{f"metrics_{k}": lambda c, k=k: c.get_unit_analysis_metrics_by_session_type(k, names="release") for k in KINDS},
    **{
        f"raw_metrics_{k}": lambda c, k=k: c.get_unit_analysis_metrics_by_session_type(
            k, annotate=False, names="release"
        )
        for k in KINDS
    },
}


@pytest.fixture(scope="module")
def theirs(excerpt, tmp_path_factory) -> tuple[Path, Path]:
    """Return the copy of the released files that AllenSDK read, and the folder of its answers."""
    python = os.environ.get("ALLEN_ECEPHYS_ALLENSDK_PYTHON")
    if not python:
        pytest.skip("name the interpreter of an environment with AllenSDK in ALLEN_ECEPHYS_ALLENSDK_PYTHON")
    copy = tmp_path_factory.mktemp("allensdk") / "cache"
    shutil.copytree(excerpt, copy, copy_function=shutil.copyfile)
    answers = tmp_path_factory.mktemp("answers")
    script = Path(__file__).with_name("tables_with_allensdk.py")
    subprocess.run([python, script, copy / "manifest.json", answers], check=True, timeout=600)
    return copy, answers


@pytest.fixture(scope="module")
def cache(theirs) -> EcephysProjectCache:
    return EcephysProjectCache.fixed(theirs[0])


def cells(column: pd.Series) -> list[object]:
    values = (value.tolist() if isinstance(value, np.ndarray) else value for value in column)
    return [None if pd.api.types.is_scalar(value) and pd.isna(value) else value for value in values]


@pytest.mark.filterwarnings("ignore:the published metrics of:UserWarning")  # AllenSDK passes them on unnamed
@pytest.mark.parametrize("name", CALLS)
def test_table(theirs, cache, name):
    ours = CALLS[name](cache)
    table = name.partition("_")[0]
    with np.load(theirs[1] / f"{name}.npz") as parts:
        columns = parts["columns"].tolist()
        order = np.argsort(parts["index"], kind="stable")
        ours = ours.sort_index()
        assert ours.index.tolist() == parts["index"][order].tolist()
        extra = OURS_ONLY.get(table, OURS_ONLY["units"])
        if name.startswith("raw_metrics"):
            extra = set()
        # Their columns are all there, in their order but for those that AllenSDK names differently.
        assert set(columns) <= set(ours.columns)
        assert set(ours.columns) - set(columns) <= extra
        for k, column in enumerate(columns):
            expected, found = parts[f"c{k}"][order], ours[column]
            if expected.dtype.kind == "U":
                texts = [json.loads(text) for text in expected]
                if column == "ecephys_structure_acronyms":
                    texts = [[] if acronyms == 0 else acronyms for acronyms in texts]
                assert cells(found) == texts, column
                continue
            if column in CCF:
                assert (expected == -1000).any()
                expected = np.where(expected == -1000, np.nan, expected)
            assert found.dtype == expected.dtype, column
            tolerance = 1e-15 if expected.dtype.kind == "f" else 0
            np.testing.assert_allclose(found.to_numpy(), expected, rtol=tolerance, atol=0, err_msg=column)


def test_lists(theirs, cache):
    lists = json.loads((theirs[1] / "lists.json").read_text())
    assert cache.get_all_session_types() == lists["types"]
    assert cache.get_all_full_genotypes() == lists["genotypes"]
    assert cache.get_structure_acronyms() == lists["structures"]
    assert cache.get_all_ages() == lists["ages"]
    assert cache.get_all_sexes() == lists["sexes"]
