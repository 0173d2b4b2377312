"""Folders in the forms that Open Ephys and SpikeGLX leave behind, or plain binary files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import GeometryError, UnknownNameError, suggest

from ...probes import N_CHANNELS, neuropixels_1_geometry
from ...readers.raw_folder import describe_binary

Form = Literal["open_ephys", "spikeglx", "binary"]
#: Open Ephys writes every band of every probe in units of 0.195 uV.
OPEN_EPHYS_UV: Final = 0.195
#: One step of a 1.0 probe's 10-bit converter at its usual gains: 1.2 V / 1024 / gain.
AP_STEP_UV: Final = 1.2e6 / 1024 / 500
LFP_STEP_UV: Final = 1.2e6 / 1024 / 250


@dataclass(frozen=True)
class RawForm:
    """Where a form keeps its files, relative to its folder, and how it scales samples."""

    name: Form
    ap_file: str
    lfp_file: str
    ap_uv_per_bit: float
    lfp_uv_per_bit: float
    sync_column: bool


FORMS: Final = {
    "open_ephys": RawForm(
        "open_ephys",
        "continuous/Neuropix-3a-100.0/continuous.dat",
        "continuous/Neuropix-3a-100.1/continuous.dat",
        OPEN_EPHYS_UV,
        OPEN_EPHYS_UV,
        sync_column=False,
    ),
    "spikeglx": RawForm(
        "spikeglx",
        "simulation_g0_t0.imec0.ap.bin",
        "simulation_g0_t0.imec0.lf.bin",
        AP_STEP_UV,
        LFP_STEP_UV,
        sync_column=True,
    ),
    "binary": RawForm("binary", "ap.dat", "lfp.dat", OPEN_EPHYS_UV, OPEN_EPHYS_UV, sync_column=False),
}


def raw_form(name: str) -> RawForm:
    """Return the form of that name, or raise with the names there are."""
    if name not in FORMS:
        msg = f"no raw data form {name!r}{suggest(name, FORMS)}; there are {', '.join(get_args(Form))}"
        raise UnknownNameError(msg)
    return FORMS[name]


def check_form_holds(form: RawForm, geometry: npt.NDArray[np.float64]) -> None:
    """Raise unless the form's metadata can describe these channels (vendors' forms: a prefix of a 1.0 probe)."""
    n_channels = len(geometry)
    if form.name != "binary" and (
        n_channels > N_CHANNELS or not np.array_equal(geometry, neuropixels_1_geometry(n_channels))
    ):
        msg = (
            f"the {form.name} form describes a Neuropixels 3A or 1.0 probe of up to 384 channels; use form='binary' "
            "for others"
        )
        raise GeometryError(msg)


def write_metadata(
    folder: Path,
    form: RawForm,
    rate: float,
    n_samples: int,
    n_lfp: int,
    geometry: npt.NDArray[np.float64],
    references: Sequence[int],
) -> None:
    """Write the files that stand beside the samples."""
    n_channels = len(geometry)
    if form.name == "binary":
        for name, band_rate, step, full_scale, samples in (
            (form.ap_file, rate, form.ap_uv_per_bit, 1200.0, n_samples),
            (form.lfp_file, rate / 12, form.lfp_uv_per_bit, 2400.0, n_lfp),
        ):
            if samples or name == form.ap_file:
                describe_binary(
                    folder / name, n_channels, samples, sampling_rate=band_rate, uv_per_bit=step,
                    geometry=geometry.tolist(), reference_channels=list(references), full_scale_uv=full_scale,
                )  # fmt: skip
    elif form.name == "open_ephys":
        _write_open_ephys(folder, form, rate, n_samples, n_lfp, n_channels)
    elif form.name == "spikeglx":
        for name, gain_rate, samples, band in (
            (form.ap_file, rate, n_samples, (n_channels, 0, 1)),
            (form.lfp_file, rate / 12, n_lfp, (0, n_channels, 1)),
        ):
            if samples or name == form.ap_file:
                _write_meta(folder / name, gain_rate, samples, band, references)


def _write_open_ephys(folder: Path, form: RawForm, rate: float, n_samples: int, n_lfp: int, n_channels: int) -> None:
    streams: list[dict[str, Any]] = []
    for index, (name, stream_rate, samples) in enumerate(
        ((form.ap_file, rate, n_samples), (form.lfp_file, rate / 12, n_lfp))
    ):
        if not samples and index:
            continue
        stream = Path(name).parent
        np.save(folder / stream / ("ap_timestamps.npy", "lfp_timestamps.npy")[index], np.arange(samples, dtype="<i8"))
        streams.append(
            {
                "folder_name": f"{stream.name}/",
                "sample_rate": stream_rate,
                "source_processor_name": "Neuropix-3a",
                "source_processor_id": 100,
                "source_processor_sub_idx": index,
                "recorded_processor": "Neuropix-3a",
                "recorded_processor_id": 100,
                "num_channels": n_channels,
                "channels": [
                    {"channel_name": f"CH{c + 1}", "bit_volts": OPEN_EPHYS_UV, "units": "uV"} for c in range(n_channels)
                ],
            }
        )
    contents = {"GUI version": "0.4.4", "continuous": streams, "events": [], "spikes": []}
    (folder / "structure.oebin").write_text(json.dumps(contents, indent=1))


def _write_meta(path: Path, rate: float, n_samples: int, band: tuple[int, int, int], references: Sequence[int]) -> None:
    ap, lf, sync = band
    n_channels = ap + lf
    first = 0 if ap else N_CHANNELS
    shanks = "".join(f"(0:{c % 2}:{c // 2}:{int(c not in references)})" for c in range(n_channels))
    table = "".join(f"({c} 0 0 500 250 1)" for c in range(N_CHANNELS))
    names = "".join(f"({'AP' if ap else 'LF'}{c};{first + c}:{c})" for c in range(n_channels))
    lines = {
        "acqApLfSy": f"{N_CHANNELS},{N_CHANNELS},1",
        "appVersion": "20190327",
        "fileName": path.name,
        "fileSizeBytes": n_samples * (n_channels + sync) * 2,
        "fileTimeSecs": n_samples / rate,
        "firstSample": 0,
        "imAiRangeMax": 0.6,
        "imAiRangeMin": -0.6,
        "imDatPrb_pn": "PRB_1_4_0480_1",
        "imDatPrb_sn": 0,
        "imDatPrb_type": 0,
        "imMaxInt": 512,
        "imSampRate": rate,
        "nSavedChans": n_channels + sync,
        "snsApLfSy": f"{ap},{lf},{sync}",
        "snsSaveChanSubset": f"{first}:{first + n_channels - 1},{2 * N_CHANNELS}",
        "syncImInputSlot": 2,
        "typeImEnabled": 1,
        "typeThis": "imec",
        "~imroTbl": f"(0,{N_CHANNELS}){table}",
        "~snsChanMap": f"({N_CHANNELS},{N_CHANNELS},1){names}(SY0;{2 * N_CHANNELS}:{n_channels})",
        "~snsShankMap": f"(1,2,480){shanks}",
    }
    path.with_suffix(".meta").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
