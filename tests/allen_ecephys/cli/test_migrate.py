"""Code written for AllenSDK: its imports are rewritten and resolve, and what needs a person is named with a reason."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from allen_ecephys.cli import main
from allen_ecephys.cli.migrate import migrated_code, migrated_file

SCRIPT = """\
import os
from allensdk.brain_observatory.ecephys.ecephys_project_cache import EcephysProjectCache
from allensdk.brain_observatory.ecephys.ecephys_session import (
    EcephysSession,
    removed_unused_stimulus_presentation_columns,
)
from allensdk.brain_observatory.ecephys.visualization import plot_mean_waveforms, plot_spike_counts, raster_plot
from allensdk.brain_observatory.visualization import plot_running_speed
from allensdk.brain_observatory.ecephys.stimulus_analysis.receptive_field_mapping import ReceptiveFieldMapping
import allensdk.brain_observatory.ecephys.stimulus_analysis.drifting_gratings as dg
"""

NEEDS_A_PERSON = {
    'table[table.orientation != "null"]': "compat='allensdk'",
    "table[table['size'] == '[20.0, 20.0]']": "a pair of equal numbers is one number",
    "table.groupby('orientation').mean()": "dropna=False",
    "mask = (a > 1) & [x for x in b]": "make the list an array",
    "cache = EcephysProjectCache.from_warehouse(manifest=m, fetch_tries=5)": "without effect",
    "cache = EcephysProjectCache.from_warehouse(path)": "write manifest=",
    "session.units[['g_osi_dg']]": "session.unit_analysis_metrics",
    'session.units.loc[:, "g_osi_dg"]': "session.unit_analysis_metrics",
    "session.units.loc[mask, ['snr', 'g_osi_dg']]": "session.unit_analysis_metrics",
    "session.units.get('g_osi_dg')": "session.unit_analysis_metrics",
    "units.sort_values('time_to_peak_fl')": "session.unit_analysis_metrics",
    "units.query('snr > 3 and g_osi_dg > 0.5')": "session.unit_analysis_metrics",
    "units[f'{metric}_dg']": "session.unit_analysis_metrics",
    "units[f'g_osi_{stimulus}']": "session.unit_analysis_metrics",
    "units['%s_rf' % metric]": "session.unit_analysis_metrics",
    "units['{}_rf'.format(metric)]": "session.unit_analysis_metrics",
    "units['g_osi' + '_dg']": "session.unit_analysis_metrics",
    "units.g_osi_dg": "session.unit_analysis_metrics",
    "[units[c] for c in ('g_osi_dg', 'g_dsi_dg')]": "session.unit_analysis_metrics",
    "v1 = session.units[mask]; v1.hist('g_osi_dg')": "session.unit_analysis_metrics",
    "sns.histplot(data=session.units, x='g_osi_dg')": "session.unit_analysis_metrics",
    "metrics.query('fano_fl > 1')": "fano_factor_",
    "metrics['pref_images_multi_ns']": "names='release'",
    "metrics.run_pval_dg": "DriftingGratings and the other classes",
    "table.groupby(['contrast', 'orientation']).mean()": "dropna=False",
    "table.pivot_table(index='orientation')": "dropna=False",
    "table['orientation'].value_counts()": "dropna=False",
    "mask & [True, False]": "make the list an array",
    "EcephysProjectCache.from_warehouse(manifest=join(a, b()), timeout=5)": "without effect",
    "print 'two'": "Python 3 cannot read",
    "from allensdk.brain_observatory.behavior import x": "no counterpart",
    "from allensdk.brain_observatory.ecephys.ecephys_project_api.http_engine import HttpEngine": "no counterpart",
    "metrics['run_pval_dg']": "names='release'",
    "session.spike_times[7] -= 1": "read-only",
    "dg.make_star_plot(7)": "not offered here",
}


def test_rewritten_imports_resolve() -> None:
    code, found = migrated_code(SCRIPT)
    assert found == []
    assert "allensdk" not in code
    exec(compile(code, "script", "exec"), {})


@pytest.mark.parametrize(("line", "why"), NEEDS_A_PERSON.items())
def test_what_needs_a_person_is_named(line: str, why: str) -> None:
    _, found = migrated_code(f"x = 1\n{line}\n# {line}\n")
    assert [number for number, _, _ in found] == [2]  # comments are not looked at
    assert found[0][1] == line
    assert why in found[0][2]


@pytest.mark.parametrize(
    "code",
    [
        "session = cache.get_session_data(1)\ncounts = session.presentationwise_spike_counts(edges, ids, units)",
        "units = session.units.join(session.unit_analysis_metrics)\nunits['g_osi_dg']",
        "units = cache.get_unit_analysis_metrics_by_session_type('brain_observatory_1.1')\nunits['g_osi_dg']",
        "units['g_osi_dg'] = metrics['g_osi_dg']\nunits.g_osi_dg.hist()",
        "units[metrics['g_osi_dg'] > 0.5].to_csv('g_osi_dg.csv')",
        "metrics.loc[units.index, 'g_osi_dg']",
        "dg = DriftingGratings(session)\ndg.metrics['run_pval_dg']\ndg.metrics.run_pval_dg",
        "asked = ['fano_dg', 'run_pval_dg']\nof_gratings = dg.metrics\nof_gratings[asked]",
        "table.groupby(['contrast', 'orientation'], dropna=False).mean()",
        "requests.get(address, timeout=5); version = np.__version__",
        "%matplotlib inline\n%time units = session.units\nfiles = !ls\nunits?",
        "%%bash\nls -l",
        "",
    ],
)
def test_code_that_runs_as_it_is_needs_no_one(code: str) -> None:
    assert migrated_code(code) == (code, [])


def test_a_statement_may_go_over_lines() -> None:
    code = "cache = EcephysProjectCache.from_warehouse(\n    manifest=path,  # 'null'\n    fetch_tries=5,\n)\n"
    assert [(number, line) for number, line, _ in migrated_code(code)[1]] == [(3, "fetch_tries=5,")]
    code = "session.units.loc[\n    mask,\n    'g_osi_dg',\n]\n"
    assert [(number, line) for number, line, _ in migrated_code(code)[1]] == [(3, "'g_osi_dg',")]


def test_a_cell_knows_the_tables_of_the_cells_before() -> None:
    sources = ["u = session.units", "%time u['g_osi_dg']", "u = u.join(metrics)", "u['g_osi_dg']"]
    cells = [{"cell_type": "code", "source": source} for source in sources]
    _, findings = migrated_file(json.dumps({"cells": cells}), notebook=True)
    assert [finding.place for finding in findings] == ["cell 1, line 1"]


def test_a_notebook_is_shown_and_changed_only_on_request(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["allensdk in words, \u00b5m"]},
        {"cell_type": "code", "metadata": {}, "outputs": [], "source": SCRIPT.splitlines(keepends=True)},
        {"cell_type": "code", "metadata": {}, "outputs": [], "source": "t[t.phase == 'null']"},
    ]
    path = tmp_path / "notebook.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8")
    before = path.read_text(encoding="utf-8")
    shown = CliRunner().invoke(main, ["migrate", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "6 imports to rewrite" in shown.output
    assert "cell 2, line 1: t[t.phase == 'null']" in shown.output
    assert path.read_text(encoding="utf-8") == before
    assert "6 imports rewritten" in CliRunner().invoke(main, ["migrate", "--write", str(path)]).output
    changed = json.loads(path.read_text(encoding="utf-8"))
    assert changed["cells"][0] == cells[0]
    assert "allensdk" not in "".join(changed["cells"][1]["source"])
    assert changed["cells"][2] == cells[2]


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken.ipynb").write_text("{")
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    os.mkfifo(tmp_path / "pipe.py")
    for name, why in (
        ("notes.txt", "neither a script"),
        ("broken.ipynb", "is no notebook"),
        ("latin.py", "is no text in UTF-8"),
        ("pipe.py", "is no regular file"),
    ):
        done = CliRunner().invoke(main, ["migrate", str(tmp_path / name)])
        assert done.exit_code != 0
        assert re.search(why, done.output)


def test_a_script_of_windows_keeps_its_ends_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_bytes(SCRIPT.replace("\n", "\r\n").encode())
    assert CliRunner().invoke(main, ["migrate", "--write", str(path)]).exit_code == 0
    content = path.read_bytes()
    assert b"allen_ecephys" in content
    assert content.count(b"\r\n") == content.count(b"\n")
