"""Clocks: the sync file, barcodes, and every probe's sample numbers on the session's clock."""

from .band_clock import BandClock
from .barcodes import Barcodes, ProbeEvents, decode_barcodes
from .clock_figure import plot_clock
from .probe_clock import ProbeClock, TwoPointFit, fit_clock
from .probe_events import probe_event_files, read_probe_events, read_recorder_times, square_wave_edges
from .released_probe import ReleasedProbe, open_released_probe
from .shared_events import clock_from_barcodes, clock_from_square_wave, clock_from_timestamps
from .sync_file import SyncFile, open_sync_file

__all__ = [
    "BandClock",
    "Barcodes",
    "ProbeClock",
    "ProbeEvents",
    "ReleasedProbe",
    "SyncFile",
    "TwoPointFit",
    "clock_from_barcodes",
    "clock_from_square_wave",
    "clock_from_timestamps",
    "decode_barcodes",
    "fit_clock",
    "open_released_probe",
    "open_sync_file",
    "plot_clock",
    "probe_event_files",
    "read_probe_events",
    "read_recorder_times",
    "square_wave_edges",
]
