from __future__ import annotations

import json
from pathlib import Path

import pytest

from allen_ecephys.cache import manifest
from allen_ecephys.cache.manifest import ManifestVersionError
from allen_ecephys.cache.remotes.protocol import safe_key
from allen_ecephys.errors import AccessError, ManifestError, UnsafePathError


def entry(key: str, spec: str, parent: str | None = "BASEDIR", kind: str = "file") -> dict[str, str]:
    return {"key": key, "type": kind, "spec": spec} | ({"parent_key": parent} if parent else {})


def written(folder: Path, *entries: dict[str, str], version: object = "0.3.0") -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps({"manifest": [{"type": "manifest_version", "value": version}, *entries]}))
    return path


def test_written_manifest_is_the_released_one(tmp_path, excerpt):
    manifest.write(tmp_path / "new" / "manifest.json")
    ours = json.loads((tmp_path / "new" / "manifest.json").read_text())
    assert ours == json.loads((excerpt / "manifest.json").read_text())
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["manifest.json"]


def test_paths(tmp_path):
    made = manifest.write(tmp_path / "m.json")
    read = manifest.read(tmp_path / "m.json")
    for m in (made, read):
        assert m.path("units") == tmp_path / "units.csv"
        assert m.key("session_nwb", 5, 5) == "session_5/session_5.nwb"
        assert m.key("probe_lfp_nwb", 5, 7) == "session_5/probe_7_lfp.nwb"
        assert m.key("natural_movie", 1) == "natural_movie_templates/natural_movie_1.h5"
        assert m.key("typewise_analysis_metrics", "functional_connectivity") == (
            "functional_connectivity_analysis_metrics.csv"
        )


def test_layout_of_its_own(tmp_path):
    path = written(tmp_path, entry("BASEDIR", "data", None, "dir"), entry("units", "all_units.csv"))
    m = manifest.read(path)
    assert m.path("units") == tmp_path / "data" / "all_units.csv"
    assert m.path("sessions") == tmp_path / "data" / "sessions.csv"  # not named: as released


@pytest.mark.parametrize(
    ("found", "outdated"), [("0.2.1", True), ("0.10.0", False), (None, None), ("new", None), (3, False)]
)
def test_other_version(tmp_path, found, outdated):
    path = written(tmp_path, version=found)
    with pytest.raises(ManifestVersionError, match=r"0\.3\.0") as caught:
        manifest.read(path)
    assert caught.value.outdated is outdated
    assert caught.value.version == "0.3.0"
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"manifest": 3}', '{"manifest": [3]}', "<html>", '{"manifest": ' + "[" * 100_000]
)
def test_no_manifest(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        manifest.read(tmp_path / "manifest.json")
    assert (tmp_path / "manifest.json").read_text() == text


@pytest.mark.parametrize(
    "spec", ["../x.csv", "/etc/passwd", "C:\\x", "a/../../x", "a\x00b", "con", "NUL.txt", "x" * 300, "%s/../x", "a//b"]
)
def test_path_outside_the_folder_is_refused(tmp_path, spec):
    with pytest.raises(ManifestError, match=r"outside its folder|something else"):
        manifest.read(written(tmp_path, entry("units", spec)))


@pytest.mark.parametrize(
    "entries",
    [
        [{"key": "units", "type": "file"}],
        [{"key": "units", "type": "pipe", "spec": "x"}],
        [{"key": "units", "type": "file", "spec": "x", "parent_key": 3}],
        [entry("units", "x", "nowhere")],
        [entry("a", "x", "b", "dir"), entry("b", "y", "a", "dir")],
        [entry("units", "units_%(name)f.csv")],
    ],
)
def test_broken_entries(tmp_path, entries):
    with pytest.raises(ManifestError):
        manifest.read(written(tmp_path, *entries))


@pytest.mark.parametrize("value", ["../../x", "a/b", "..\\x", "x" * 400, "a\nb"])
def test_names_cannot_lead_out(tmp_path, value):
    with pytest.raises(UnsafePathError):
        manifest.standard(tmp_path).path("typewise_analysis_metrics", value)


def test_wrong_number_of_ids(tmp_path):
    with pytest.raises(ManifestError, match="number of ids"):
        manifest.standard(tmp_path).path("session_nwb", 1)
    with pytest.raises(ManifestError, match="did you mean 'session_nwb'"):
        manifest.standard(tmp_path).path("session_nbw", 1)


def test_sibling_that_shares_a_prefix_is_outside(tmp_path):
    with pytest.raises(UnsafePathError):
        safe_key("../data_evil/f")
    assert safe_key("data_evil/f") == "data_evil/f"


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AccessError, match="ALLEN_ECEPHYS_CACHE_DIR"):
        manifest.write(tmp_path / "file" / "manifest.json")
