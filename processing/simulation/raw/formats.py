"""Folders in the forms that Open Ephys and SpikeGLX leave behind, or plain binary files."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import GeometryError, InvalidValueError, UnknownNameError, suggest

from ...probes import N_CHANNELS, neuropixels_1_geometry
from ...readers.compressed import COMPRESSED
from ...readers.raw_folder import describe_binary
from .probe import RecordedProbe
from .site_tables import site_tables

Form = Literal["open_ephys", "spikeglx", "binary"]
#: Open Ephys writes every band of every probe in units of 0.195 uV.
OPEN_EPHYS_UV: Final = 0.195


@dataclass(frozen=True)
class RawForm:
    """Where a form keeps its files, relative to its folder, and how it scales samples.

    Samples are in units of `uv_per_bit`, or of the converter's own steps where that is None.
    """

    name: Form
    ap_file: str
    lfp_file: str
    uv_per_bit: float | None
    sync_column: bool

    def compressed(self) -> RawForm:
        """Return the form with compressed samples.

        Raises
        ------
        InvalidValueError
            If it is not SpikeGLX's.
        """
        if self.name != "spikeglx":
            msg = f"files of the form {self.name!r} are not compressed; compress=True is of form='spikeglx'"
            raise InvalidValueError(msg)
        ap, lfp = (str(Path(name).with_suffix(COMPRESSED)) for name in (self.ap_file, self.lfp_file))
        return replace(self, ap_file=ap, lfp_file=lfp)


FORMS: Final = {
    "open_ephys": RawForm(
        "open_ephys",
        "continuous/Neuropix-3a-100.0/continuous.dat",
        "continuous/Neuropix-3a-100.1/continuous.dat",
        OPEN_EPHYS_UV,
        sync_column=False,
    ),
    "spikeglx": RawForm(
        "spikeglx",
        "simulation_g0_t0.imec0.ap.bin",
        "simulation_g0_t0.imec0.lf.bin",
        None,
        sync_column=True,
    ),
    "binary": RawForm("binary", "ap.dat", "lfp.dat", OPEN_EPHYS_UV, sync_column=False),
}


def raw_form(name: str) -> RawForm:
    """Return the form of that name, or raise with the names there are."""
    if name not in FORMS:
        msg = f"no raw data form {name!r}{suggest(name, FORMS)}; there are {', '.join(get_args(Form))}"
        raise UnknownNameError(msg)
    return FORMS[name]


def check_form_holds(form: RawForm, probe: RecordedProbe) -> None:
    """Raise unless the form's metadata can describe this probe."""
    if form.name == "spikeglx" and (not probe.part_number or probe.part_number == "NP1110"):
        msg = (
            "the spikeglx form describes probes of the catalogue, but for those with switches (NP1110); use "
            "form='binary' for others"
        )
        raise GeometryError(msg)
    at_1_0 = np.array_equal(probe.geometry, neuropixels_1_geometry(len(probe.geometry)))
    if form.name == "open_ephys" and not (at_1_0 and len(probe.geometry) <= N_CHANNELS):
        msg = (
            "the open_ephys form is that of the released recordings, of a 3A probe's lowest sites; use form='spikeglx' "
            "for other probes and sites, or form='binary'"
        )
        raise GeometryError(msg)


def write_metadata(folder: Path, form: RawForm, rate: float, n_samples: int, n_lfp: int, probe: RecordedProbe) -> None:
    """Write the files that stand beside the samples."""
    n_channels = len(probe.geometry)
    if form.name == "binary":
        for name, band_rate, step, samples in (
            (form.ap_file, rate, probe.ap_step_uv, n_samples),
            (form.lfp_file, rate / 12, probe.lfp_step_uv or probe.ap_step_uv, n_lfp),
        ):
            if samples or name == form.ap_file:
                describe_binary(
                    folder / name, n_channels, samples, sampling_rate=band_rate, uv_per_bit=form.uv_per_bit or step,
                    geometry=probe.geometry.tolist(), shanks=probe.shanks.tolist(), adc=probe.adc.as_facts(),
                    reference_channels=list(probe.references), full_scale_uv=step * 2 ** (probe.bits - 1),
                )  # fmt: skip
    elif form.name == "open_ephys":
        _write_open_ephys(folder, form, rate, n_samples, n_lfp, n_channels)
    elif form.name == "spikeglx":
        for name, gain_rate, samples, band in (
            (form.ap_file, rate, n_samples, (n_channels, 0, 1)),
            (form.lfp_file, rate / 12, n_lfp, (0, n_channels, 1)),
        ):
            if samples or name == form.ap_file:
                _write_meta(folder / name, gain_rate, samples, band, probe)


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


def _write_meta(path: Path, rate: float, n_samples: int, band: tuple[int, int, int], probe: RecordedProbe) -> None:
    ap, lf, sync = band
    n_channels = ap + lf
    numbers = probe.channels
    n_acquired = probe.n_acquired
    n_lf = n_acquired if probe.lfp_step_uv is not None else 0
    first = 0 if ap else n_acquired
    names = "".join(f"({'AP' if ap else 'LF'}{c};{first + c}:{i})" for i, c in enumerate(numbers.tolist()))
    saved = ",".join(f"{a}:{b}" if b > a else f"{a}" for a, b in _stretches(numbers + first))
    half_range = probe.ap_step_uv * probe.ap_gain * 2 ** (probe.bits - 1) / 1e6
    lines = {
        "acqApLfSy": f"{n_acquired},{n_lf},1",
        "appVersion": "20190327",
        "fileName": path.with_suffix(".bin").name,
        "fileSizeBytes": n_samples * (n_channels + sync) * 2,
        "fileTimeSecs": n_samples / rate,
        "firstSample": 0,
        "imAiRangeMax": f"{half_range:g}",
        "imAiRangeMin": f"{-half_range:g}",
        "imDatPrb_pn": probe.part_number,
        "imDatPrb_sn": 0,
        "imMaxInt": 2 ** (probe.bits - 1),
        "imSampRate": rate,
        "nSavedChans": n_channels + sync,
        "snsApLfSy": f"{ap},{lf},{sync}",
        "snsSaveChanSubset": f"{saved},{n_acquired + n_lf}",
        "syncImInputSlot": 2,
        "typeImEnabled": 1,
        "typeThis": "imec",
        "~snsChanMap": f"({n_acquired},{n_lf},1){names}(SY0;{n_acquired + n_lf}:{n_channels})",
        **site_tables(probe),
    }
    path.with_suffix(".meta").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))


def _stretches(numbers: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the runs of consecutive numbers as (first, last)."""
    cut = np.flatnonzero(np.diff(numbers) > 1)
    firsts, lasts = numbers[np.r_[0, cut + 1]], numbers[np.r_[cut, len(numbers) - 1]]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))
