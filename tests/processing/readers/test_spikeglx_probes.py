"""SpikeGLX recordings of every kind of probe, against what probeinterface and neo read and what the files say."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allen_ecephys.errors import (
    AllenEcephysError,
    CorruptFileError,
    FileFormatError,
    GeometryError,
    MissingFileError,
    UnknownNameError,
)
from allen_ecephys.processing.probes import N_CHANNELS, adc_wiring
from allen_ecephys.processing.readers import list_probes, open_bands, open_spikeglx, read_spikeglx_meta
from allen_ecephys.processing.readers.catalogue import catalogue_probe, reference_channel, shank_pitch
from allen_ecephys.processing.simulation.raw.open_ephys_folder import OpenEphysSetup, ProbeSetup, write_open_ephys
from allen_ecephys.processing.simulation.raw.site_tables import probe_type

ONE_SHANK = ("NP1010", "NP1015", "NP1022", "NP1032", "NP1100", "NP1121", "NP1300", "NP2000", "NP2003", "NP2006")
#: Kinds of probes whose gains neo reads.
NEO_KNOWS = ("NP1010", "NP1015", "NP1022", "NP1032", "NP1100", "NP2000", "NP2003", "NP2010", "NP2013", "NP2014")
FOUR_SHANKS = ("NP2010", "NP2013", "NP2014")


def spikeglx_meta(probe: ProbeSetup, band: Literal["ap", "lf"], n_samples: int, rate: float, **lines: Any) -> str:
    """Return the text of the ``.meta`` of one band of a probe; `lines` replace some, or leave them out where None."""
    model, saved = probe.model, probe.saved
    n = len(probe.electrodes)
    lf = n if probe.has_lfp else 0
    first = 0 if band == "ap" else n
    subset = [*(first + saved).tolist(), n + lf]
    per_shank, steps = model.sites_per_shank, 2 ** (model.bits - 1)
    pitch, reference = shank_pitch(model), reference_channel(model)
    sites = model.positions[probe.electrodes]
    shanks = model.shanks[probe.electrodes]
    local = sites - np.column_stack([shanks * pitch, np.zeros(n)])
    used = (np.arange(n) != reference).astype(int)
    counted = f"{len(saved)},0,1" if band == "ap" else f"0,{len(saved)},1"
    fields: dict[str, Any] = {
        "acqApLfSy": f"{n},{lf},1",
        "appVersion": "20230905",
        "fileName": f"run_g0_t0.{probe.name}.{band}.bin",
        "fileSizeBytes": n_samples * (len(saved) + 1) * 2,
        "fileTimeSecs": n_samples / rate,
        "firstSample": 0,
        "imAiRangeMax": model.range_uv / 2e6,
        "imAiRangeMin": -model.range_uv / 2e6,
        "imDatPrb_pn": probe.part_number,
        "imDatPrb_sn": probe.serial_number,
        "imDatPrb_type": probe_type(probe.part_number),
        "imMaxInt": steps,
        "imSampRate": rate,
        "nSavedChans": len(saved) + 1,
        "snsApLfSy": counted,
        "snsSaveChanSubset": ",".join(str(c) for c in subset),
        "typeThis": "imec",
        "~imroTbl": _imro_table(probe, per_shank),
        "~snsChanMap": f"({n},{lf},1)"
        + "".join(f"({band.upper()}{c};{c}:{i})" for i, c in enumerate(saved))
        + "(SY0;0:0)",
    }
    if band == "ap":
        fields["~snsGeomMap"] = f"({probe.part_number},{int(model.shanks.max()) + 1},{pitch:g},70)" + "".join(
            f"({shanks[c]}:{local[c, 0] + 27:g}:{local[c, 1]:g}:{used[c]})" for c in saved
        )
    fields |= lines
    return "".join(f"{key}={value}\n" for key, value in fields.items() if value is not None)


def _imro_table(probe: ProbeSetup, per_shank: int) -> str:
    """Return the table of readout channels: bank and gains of a 1.0 probe, shank and electrode of a 2.0 probe."""
    kind, n = probe_type(probe.part_number), len(probe.electrodes)
    shank, electrode = np.divmod(probe.electrodes, per_shank)
    if probe.has_lfp:
        gains = f"0 {probe.ap_gain:g} {probe.lf_gain:g} 1"
        entries = [f"({c} {electrode[c] // N_CHANNELS} {gains})" for c in range(n)]
    elif probe.model.shanks.max() == 0:
        entries = [f"({c} 1 0 {electrode[c]})" for c in range(n)]
    else:
        entries = [f"({c} {shank[c]} 0 0 {electrode[c]})" for c in range(n)]
    return f"({kind},{n})" + "".join(entries)


def write_glx(
    folder: Path, probe: ProbeSetup, n_samples: int = 24, run: str = "run_g0_t0", lf: bool = True, **lines: Any
) -> Path:
    """Write both bands of a probe, with values 1000 * row + column, and return the spike band's file."""
    folder.mkdir(parents=True, exist_ok=True)
    bands: tuple[tuple[Literal["ap", "lf"], int, float], ...] = (
        ("ap", n_samples, 30_000.0),
        ("lf", n_samples // 12, 2_500.0),
    )
    for band, rows, rate in bands[: 2 if lf and probe.has_lfp else 1]:
        stem = folder / f"{run}.{probe.name}.{band}"
        columns = len(probe.saved) + 1
        (1000 * np.arange(rows)[:, None] + np.arange(columns)).astype(np.int16).tofile(f"{stem}.bin")
        Path(f"{stem}.meta").write_text(spikeglx_meta(probe, band, rows, rate, **lines))
    return folder / f"{run}.{probe.name}.ap.bin"


def first_sites(part_number: str) -> np.ndarray:
    return np.arange(384)


@pytest.mark.parametrize(
    ("part_number", "without", "expected"),
    [
        ("NP2003", "imChan0apGain", 3.02734375),
        ("NP2004", "imChan0apGain", 3.02734375),
        ("NP2005", "imChan0apGain", 3.02734375),
        ("NP2006", "imChan0apGain", 3.02734375),
        ("NP2000", "imMaxInt", 0.762939453125),
        ("NP2010", "imMaxInt", 0.762939453125),
        ("NP2013", "imMaxInt", 3.02734375),
        ("NP2014", "imMaxInt", 3.02734375),
        ("NP2022", "imMaxInt", 3.02734375),
        ("NP3010", "imMaxInt", 3.271484375),
        ("NP3020", "imMaxInt", 3.271484375),
        ("NP3022", "imMaxInt", 3.271484375),
        ("NP1010", "imMaxInt", 2.34375),
        ("NP1030", "imMaxInt", 2.34375),
    ],
)
def test_microvolts_per_count_of_files_that_leave_a_line_out(
    tmp_path: Path, part_number: str, without: str, expected: float
) -> None:
    probe = ProbeSetup("imec0", part_number, first_sites(part_number))
    recording = open_spikeglx(write_glx(tmp_path, probe, **{without: None}))
    np.testing.assert_allclose(recording.uv_per_bit, expected)
    model = catalogue_probe(part_number)
    assert model is not None
    assert recording.full_scale_uv == pytest.approx(model.range_uv / 2 / probe.gain)


@pytest.mark.parametrize(
    ("part_number", "references"),
    [("NP1000", [191]), ("NP1020", [191]), ("NP1030", [191]), ("NP1300", [191]), ("NP1100", []), ("NP1110", [])],
)
def test_references_of_lfp_files_without_site_map(tmp_path: Path, part_number: str, references: list[int]) -> None:
    probe = ProbeSetup("imec0", part_number, np.arange(384))
    lines = (
        {"imDatPrb_type": 1110, "~imroTbl": "(1110,2,0,500,250,1)" + "(0 0 0)" * 24} if part_number == "NP1110" else {}
    )
    write_glx(tmp_path, probe, **lines)
    ap, lf = (read_spikeglx_meta(next(tmp_path.glob(f"*.{band}.meta"))) for band in ("ap", "lf"))
    assert "snsGeomMap" not in lf.fields
    assert lf.reference_channels.tolist() == ap.reference_channels.tolist() == references


def test_a_part_number_in_no_catalogue_is_read_by_its_own_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    probe = ProbeSetup("imec0", "NP2013", np.concatenate([1280 * s + np.arange(96) for s in range(4)]))
    path = write_glx(
        tmp_path,
        probe,
        imDatPrb_pn="NP7777",
        imDatPrb_type=7777,
        imChan0apGain=100,
        **{
            "~muxTbl": "(24,16)"
            + "".join(
                "(" + " ".join(str(32 * a + 2 * t + o) for a in range(12) for o in (0, 1)) + ")" for t in range(16)
            )
        },
    )
    with caplog.at_level(logging.WARNING):
        recording = open_spikeglx(path)
    np.testing.assert_allclose(recording.geometry, probe.positions)
    assert recording.shanks.tolist() == np.repeat(np.arange(4), 96).tolist()
    np.testing.assert_allclose(recording.uv_per_bit, 3.02734375)
    assert recording.adc is not None
    np.testing.assert_array_equal(recording.adc.turns, adc_wiring("NP2013").turns)  # type: ignore[union-attr]
    assert "NP7777 (type 7777) is in no catalogue" in caplog.text
    for without, said in (("imMaxInt", "imMaxInt"), ("imChan0apGain", "no gain is known")):
        path.with_suffix(".meta").write_text(re.sub(rf"(?m)^{without}=.*\n", "", path.with_suffix(".meta").read_text()))
        with pytest.raises(FileFormatError, match=said):
            open_spikeglx(path)
        write_glx(tmp_path, probe, imDatPrb_pn="NP7777", imDatPrb_type=7777, imChan0apGain=100)
    path.with_suffix(".meta").write_text(re.sub(r"(?m)^~snsGeomMap=.*\n", "", path.with_suffix(".meta").read_text()))
    with pytest.raises(GeometryError, match="geometry="):
        open_spikeglx(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "cp1251", "latin-1"])
def test_notes_in_any_windows_text(tmp_path: Path, encoding: str) -> None:
    notes = "Ж" if encoding == "cp1251" else "Größe 3 µm: «niño»" if encoding != "latin-1" else "Größe \x81"
    probe = ProbeSetup("imec0", "NP2003", np.arange(384))
    path = write_glx(tmp_path, probe)
    text = path.with_suffix(".meta").read_text() + f"userNotes={notes}\n"
    path.with_suffix(".meta").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    recording = open_bands(tmp_path).spike_band
    np.testing.assert_allclose(recording.geometry, probe.positions)


def test_single_shank_probes_wider_than_the_gap_between_shanks_have_one_shank(tmp_path: Path) -> None:
    probe = ProbeSetup("imec0", "NP1022", np.arange(384))
    recording = open_spikeglx(write_glx(tmp_path, probe))
    assert np.unique(recording.shanks).tolist() == [0]


def test_a_probe_is_chosen_by_name_among_several(tmp_path: Path) -> None:
    one, two = ProbeSetup("imec0", "NP1010", np.arange(384)), ProbeSetup("imec1", "NP2003", np.arange(384) + 100)
    for probe in (one, two):
        write_glx(tmp_path / f"run_g0_{probe.name}", probe)
    with pytest.raises(MissingFileError, match="--stream imec0"):
        open_bands(tmp_path)
    with pytest.raises(UnknownNameError, match=r"of a probe 'imec7'.*There are: imec0, imec1"):
        open_bands(tmp_path, stream="imec7")
    bands = open_bands(tmp_path, stream="imec1")
    assert (bands.probe, bands.lfp, bands.recorder) == ("imec1", None, "SpikeGLX")
    np.testing.assert_allclose(bands.spike_band.geometry, two.positions)
    assert open_bands(tmp_path, stream="imec0").lfp is not None
    with pytest.raises(UnknownNameError, match="not of probe"):
        open_bands(bands.spike_band.path, stream="imec0")
    listed = list_probes(tmp_path)
    assert [(p.probe, p.part_number, p.bands, p.problem) for p in listed] == [
        ("imec0", "NP1010", ("ap", "lfp"), ""),
        ("imec1", "NP2003", ("ap",), ""),
    ]


def test_a_t0_spike_band_beside_a_tcat_lfp(tmp_path: Path) -> None:
    write_glx(tmp_path, ProbeSetup("imec0", "NP1010", np.arange(384)))
    for path in tmp_path.glob("*.lf.*"):
        path.rename(path.with_name(path.name.replace("_t0", "_tcat")))
    for place in (tmp_path, tmp_path / "run_g0_t0.imec0.ap.bin"):
        lfp = open_bands(place).lfp
        assert lfp is not None
        assert lfp.path.name == "run_g0_tcat.imec0.lf.bin"


@pytest.mark.parametrize("name", ["q", "mouse12_t0.imec0.ap"])
def test_an_lfp_file_under_another_name_is_no_spike_band(tmp_path: Path, name: str) -> None:
    path = write_glx(tmp_path, ProbeSetup("imec0", "NP1010", np.arange(384)))
    for part in (".bin", ".meta"):
        path.with_name(path.name.replace(".ap.bin", f".lf{part}")).rename(tmp_path / f"{name}{part}")
    with pytest.raises(FileFormatError, match=r"holds the LFP by its \.meta, not the spike band"):
        open_bands(tmp_path / f"{name}.bin")
    assert open_spikeglx(tmp_path / f"{name}.bin", "lf").n_samples > 0


def test_several_files_of_one_probe_are_never_one_of_them(tmp_path: Path) -> None:
    """Triggers of a run, gates, and several runs in one folder: told apart by name, none silently left out."""
    probe = ProbeSetup("imec0", "NP1010", np.arange(384))
    for runs in (("run_g0_t0", "run_g0_t1"), ("run_g0_t0", "run_g1_t0"), ("mouse1_g0_tcat", "mouse2_g0_tcat")):
        folder = tmp_path / "-".join(runs)
        for run in runs:
            write_glx(folder, probe, run=run)
        for stream in (None, "imec0"):
            with pytest.raises(MissingFileError, match=rf"{runs[0]}\.imec0.*{runs[1]}\.imec0.*CatGT"):
                open_bands(folder, stream=stream)
        assert [found.problem for found in list_probes(folder)] == ["", ""]
        bands = open_bands(folder / f"{runs[1]}.imec0.ap.bin")
        assert bands.lfp is not None
        assert bands.lfp.path.name == f"{runs[1]}.imec0.lf.bin"


def test_the_lfp_of_another_trigger_is_not_taken(tmp_path: Path) -> None:
    probe = ProbeSetup("imec0", "NP1010", np.arange(384))
    write_glx(tmp_path, probe, run="run_g0_t0")
    write_glx(tmp_path, probe, run="run_g0_t1", lf=False)
    assert open_bands(tmp_path / "run_g0_t0.imec0.ap.bin").lfp is not None
    assert open_bands(tmp_path / "run_g0_t1.imec0.ap.bin").lfp is None


@pytest.mark.parametrize(
    ("lines", "aligned"),
    [
        ({"catGTCmdline0": "<CatGT -dir=/d -run=r -g=0 -t=0 -ap -prb=0 -gblcar -dest=/o>", "catGVals": "0,0"}, True),
        ({"catGTCmdline0": "<CatGT -run=r -ap -dest=/o -no_tshift>", "catGVals": "0,0"}, False),
        ({"catGTCmdline0": "<CatGT -run=r -ap -dest=/o -gbldmx>"}, False),  # a version that did not align by itself
        ({"catGTCmdline0": "<CatGT -run=r -tshift -ap -dest=/o>"}, True),
        ({}, False),
    ],
)
def test_turns_that_catgt_has_undone_are_not_undone_again(
    tmp_path: Path, lines: dict[str, str], aligned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_glx(tmp_path, ProbeSetup("imec0", "NP1010", np.arange(384)), run="run_g0_tcat", **lines)
    with caplog.at_level(logging.INFO):
        adc = open_bands(path).spike_band.adc
    assert adc is not None
    assert (adc.delays == 0).all() == aligned
    assert ("tshift" in caplog.text) == aligned
    np.testing.assert_array_equal(adc.groups, np.arange(384) % 24)


def test_cut_files_are_opened_where_that_is_asked_for(tmp_path: Path) -> None:
    path = write_glx(tmp_path, ProbeSetup("imec0", "NP1010", np.arange(384)))
    with path.open("r+b") as file:
        file.truncate(385 * 2 * 20 + 7)
    with pytest.raises(CorruptFileError, match="--allow-cut"):
        open_bands(tmp_path)
    assert list_probes(tmp_path)[0].problem
    assert open_bands(tmp_path, allow_cut=True).spike_band.n_samples == 20


@pytest.mark.parametrize(
    ("part_number", "change", "said"),
    [
        ("NP2013", ("(1 0 0 0 1)", "(0 0 0 0 1)"), "~imroTbl lists channel 0 more than once"),
        ("NP2013", ("(7 0 0 0 7)", "(7 0 0 0 9999)"), "~imroTbl names site 9999, which a NP2013 does not have"),
        ("NP2013", ("(7 0 0 0 7)", "(7 0 0 0 8)"), "~imroTbl names a site twice"),
        ("NP1010", ("(5 0 ", "(5 9 "), "~imroTbl names site 3461, which a NP1010 does not have"),
        ("NP2013", ("383", "383:0"), "from the last to the first"),
        ("NP2013", ("imDatPrb_", "note_"), "neither a line imDatPrb_pn=... nor imDatPrb_type=..."),
    ],
)
def test_what_is_wrong_with_the_sites_is_said_in_words(
    tmp_path: Path, part_number: str, change: tuple[str, str], said: str
) -> None:
    path = write_glx(tmp_path, ProbeSetup("imec0", part_number, np.arange(384)), **{"~snsGeomMap": None})
    meta = path.with_suffix(".meta")
    meta.write_text(meta.read_text().replace(*change))
    with pytest.raises(AllenEcephysError, match=re.escape(said)) as raised:
        open_spikeglx(path)
    assert str(meta) in str(raised.value)
    assert not re.search(r"\w+(Error|Exception)\(", str(raised.value))


def test_errors_on_the_link_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_glx(
        tmp_path, ProbeSetup("imec0", "NP2003", np.arange(384)), imErrFlags0_IS_CT_SR_LK_PP_SY_MS="1 0 12 0 0 0 3"
    )
    with caplog.at_level(logging.WARNING):
        meta = open_spikeglx(path).meta
    assert meta.link_errors == {"SR": 12, "MS": 3}
    assert "samples may be missing" in caplog.text


# --- folders that hold less than a recording ------------------------------------------------------------------------


def half(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0" * 770)
    return folder


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "holds no recording"),
        (("notes.txt",), "holds no recording"),
        (("a_t0.imec0.ap.bin",), r"has no a_t0\.imec0\.ap\.meta beside it"),
        (("a_t0.imec0.ap.meta",), "without its .bin"),
        (("a_t0.imec0.lf.bin", "a_t0.imec0.lf.meta"), "LFP band only"),
        (("a_t0.imec0.ap.cbin",), r"has no a_t0\.imec0\.ap\.meta beside it"),
        (("a_t0.imec0.ap.ch",), r"without its \.cbin"),
        (("a_t0.imec0.lf.cbin", "a_t0.imec0.lf.ch", "a_t0.imec0.lf.meta"), "LFP band only"),
        (("a_t0.nidq.cbin", "a_t0.nidq.ch", "a_t0.nidq.meta"), "NI card"),
        (("x/continuous.dat",), r"without the structure\.oebin"),
        (("Record Node 101/settings.xml",), r"settings of Open Ephys but no structure\.oebin"),
        (("data.bin",), "no spike band by its name"),
        (("data.cbin",), "no spike band by its name"),
    ],
)
def test_each_empty_or_half_folder_is_named_for_what_it_is(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(MissingFileError, match=said):
        open_bands(half(tmp_path / "f", *names))


def test_files_of_the_other_recorder_are_named(tmp_path: Path) -> None:
    folder = half(tmp_path / "f", "continuous.dat", "a.imec0.ap.cbin", "a.imec0.lf.bin")
    with pytest.raises(FileFormatError, match="of Open Ephys"):
        open_spikeglx(folder / "continuous.dat")
    with pytest.raises(MissingFileError, match=r"has no a\.imec0\.ap\.meta beside it"):
        open_spikeglx(folder / "a.imec0.ap.cbin")
    with pytest.raises(FileFormatError, match="name the spike band"):
        open_bands(folder / "a.imec0.lf.bin")
    with pytest.raises(MissingFileError, match="there is no"):
        open_bands(tmp_path / "none")
    with pytest.raises(MissingFileError, match="only"):
        open_spikeglx(half(tmp_path / "g", "a.imec0.lf.bin"))
    (tmp_path / "h.txt").write_text("x")
    with pytest.raises(MissingFileError, match="no file of"):
        open_bands(tmp_path / "h.txt")


# --- lines that make no sense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "imSampRate=inf", "imSampRate=nan", "imSampRate=-3", "imSampRate=fast", "imSampRate=1e999",
        "fileSizeBytes=1e99", "fileSizeBytes=-1", "fileSizeBytes=" + "9" * 5000,
        "nSavedChans=100000000000", "nSavedChans=x", "acqApLfSy=100000000000,0,1", "acqApLfSy=384", "snsApLfSy=-1,0,1",
        "snsSaveChanSubset=0:100000000000", "snsSaveChanSubset=5:2", "snsSaveChanSubset=0:383,0:383",
        "snsSaveChanSubset=a:b", "snsSaveChanSubset=-4:3", "imAiRangeMax=inf", "imAiRangeMax=0", "imAiRangeMax=x",
        "imMaxInt=0", "imMaxInt=1e3", "imMaxInt=-5", "imChan0apGain=0", "imChan0apGain=nan", "firstSample=-9",
        "imDatPrb_type=x", "~snsGeomMap=(NP2013,4,250,70)(0:1:2:1)", "~snsGeomMap=)(((",
    ],
)  # fmt: skip
def test_lines_that_make_no_sense_are_named(tmp_path: Path, line: str) -> None:
    path = write_glx(tmp_path, ProbeSetup("imec0", "NP2013", np.arange(384)))
    meta = path.with_suffix(".meta")
    key = line.partition("=")[0]
    if key == "imDatPrb_type":
        meta.write_text(re.sub(r"(?m)^imDatPrb_pn=.*\n", "", meta.read_text()))
    meta.write_text(re.sub(rf"(?m)^{key}=.*\n", "", meta.read_text()) + line + "\n")
    if line == "~snsGeomMap=)(((":  # no map at all: the table of electrodes says the sites
        assert open_spikeglx(path).n_channels == 384
        return
    with pytest.raises((FileFormatError, CorruptFileError)) as raised:
        open_spikeglx(path)
    assert str(meta) in str(raised.value) or str(path) in str(raised.value)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(
        ["acqApLfSy", "snsApLfSy", "snsSaveChanSubset", "nSavedChans", "imSampRate", "imAiRangeMax", "imMaxInt",
         "imDatPrb_pn", "imDatPrb_type", "~imroTbl", "~snsGeomMap", "fileSizeBytes", "firstSample"]
    ),
    value=st.one_of(
        st.text(alphabet="0123456789:,()- eNPx.", max_size=30), st.sampled_from(["1e400", "9" * 40, "(0,384)", "\x00"])
    ),
)  # fmt: skip
def test_no_line_leads_to_anything_but_a_named_error(tmp_path: Path, key: str, value: str) -> None:
    path = write_glx(tmp_path, ProbeSetup("imec0", "NP2013", np.arange(384)))
    meta = path.with_suffix(".meta")
    text = re.sub(rf"(?m)^{key}=.*\n", "", meta.read_text())
    meta.write_text(f"{text}{key}={value}\n")
    try:
        said = str(open_spikeglx(path).path)
    except AllenEcephysError as error:
        said = str(error)
    assert str(tmp_path) in said


# --- any probe, any sites, any recorder -----------------------------------------------------------------------------


@st.composite
def setups(draw: st.DrawFn) -> ProbeSetup:
    """Draw a probe, its site of each readout channel, and which channels are saved."""
    part = draw(st.sampled_from([*ONE_SHANK, *FOUR_SHANKS]))
    model = catalogue_probe(part)
    assert model is not None
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    channels = np.arange(N_CHANNELS)
    if model.gains[1] is not None:  # channel c sees site c of one of its banks
        banks = (len(model.positions) - 1 - channels) // N_CHANNELS + 1
        electrodes = channels + N_CHANNELS * (
            rng.integers(0, banks) if draw(st.booleans()) else rng.integers(banks.min())
        )
    elif draw(st.booleans()):
        electrodes = np.sort(rng.permutation(len(model.positions))[:N_CHANNELS])
    else:
        shank = int(rng.integers(model.shanks.max() + 1))
        electrodes = model.sites_per_shank * shank + rng.integers(model.sites_per_shank - N_CHANNELS) + channels
    saved = np.sort(rng.permutation(N_CHANNELS)[: draw(st.sampled_from([384, 384, 200, 97]))])
    return ProbeSetup(
        "imec0", part, electrodes, channels=saved, ap_gain=float(rng.choice([250, 500, 1000])),
        lf_gain=float(rng.choice([125, 250])),
    )  # fmt: skip


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(probe=setups(), cut_lines=st.sampled_from([(), ("~snsGeomMap",), ("imMaxInt",)]))
def test_spikeglx_of_any_probe_agrees_with_probeinterface_and_neo(
    tmp_path: Path, probe: ProbeSetup, cut_lines: tuple[str, ...]
) -> None:
    import probeinterface
    from neo.rawio.spikeglxrawio import extract_stream_info, read_meta_file

    for path in tmp_path.iterdir():
        path.unlink()
    path = write_glx(tmp_path, probe, **dict.fromkeys(cut_lines))
    bands = open_bands(tmp_path)
    model = probe.model
    judge = probeinterface.read_spikeglx(path.with_suffix(".meta"))
    for band, gain in ((bands.spike_band, probe.gain), (bands.lfp, probe.lf_gain)):
        if band is None:
            assert not probe.has_lfp
            continue
        np.testing.assert_allclose(band.geometry, probe.positions)
        np.testing.assert_allclose(band.geometry, judge.contact_positions)
        np.testing.assert_array_equal(band.shanks, model.shanks[probe.electrodes[probe.saved]])
        np.testing.assert_allclose(band.uv_per_bit, model.range_uv / 2 / 2 ** (model.bits - 1) / gain)
        reference = reference_channel(model)
        assert probe.saved[band.reference_channels].tolist() == [c for c in probe.saved.tolist() if c == reference]
        assert band.read(1, 2)[0].tolist() == (1000 + np.arange(len(probe.saved))).tolist()
        assert band.adc is not None
        expected = adc_wiring(probe.part_number, probe.saved)
        np.testing.assert_array_equal(band.adc.turns, expected.turns)  # type: ignore[union-attr]
    if "imMaxInt" not in cut_lines and probe.part_number in NEO_KNOWS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stream = extract_stream_info(path.with_suffix(".meta"), read_meta_file(path.with_suffix(".meta")))
        np.testing.assert_allclose(stream["channel_gains"][: len(probe.saved)], bands.spike_band.uv_per_bit)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    probes=st.lists(setups(), min_size=1, max_size=2),
    plugin=st.sampled_from(["Neuropix-PXI", "OneBox"]),
    version=st.sampled_from(["0.6.7", "1.0.1"]),
    lists_electrodes=st.booleans(),
    names=st.sampled_from([("ProbeA", "ProbeB"), ("Probe1", "Probe10"), ("V1b", "V1"), ("M3A", "M3")]),
)
def test_open_ephys_of_any_probes_agrees_with_what_was_set_up(
    tmp_path_factory: pytest.TempPathFactory, probes: list[ProbeSetup], plugin: Any, version: str,
    lists_electrodes: bool, names: tuple[str, str],
) -> None:  # fmt: skip
    import dataclasses

    tmp_path = tmp_path_factory.mktemp("rig")
    probes = [dataclasses.replace(p, name=name) for p, name in zip(probes, names, strict=False)]
    setup = OpenEphysSetup(plugin=plugin, version=version, lists_electrodes=lists_electrodes, sync_column=True)
    for name, stream in write_open_ephys(tmp_path, probes, 24, setup=setup).items():
        columns = len(next(p for p in probes if name.startswith(f"{p.name}-") or name == p.name).saved) + 1
        rows = 2 if name.endswith("-LFP") else 24
        (1000 * np.arange(rows)[:, None] + np.arange(columns)).astype(np.int16).tofile(stream / "continuous.dat")
    for probe in probes:
        bands = open_bands(tmp_path, stream=probe.name)
        for band in (bands.spike_band, bands.lfp):
            if band is None:
                assert not probe.has_lfp
                continue
            np.testing.assert_allclose(band.geometry, probe.positions)
            np.testing.assert_array_equal(band.shanks, probe.model.shanks[probe.electrodes[probe.saved]])
            np.testing.assert_allclose(band.uv_per_bit, 0.195)
            reference = reference_channel(probe.model)
            assert probe.saved[band.reference_channels].tolist() == [c for c in probe.saved.tolist() if c == reference]
            assert band.read(1, 2)[0].tolist() == (1000 + np.arange(len(probe.saved))).tolist()
        assert spike_band_full_scale(probe) == pytest.approx(bands.spike_band.full_scale_uv)


def spike_band_full_scale(probe: ProbeSetup) -> float:
    return probe.model.range_uv / 2 / probe.gain
