"""Simulated raw data of a probe, in the form of each recorder, and the truth behind them."""

from __future__ import annotations

from .noise import NoiseModel
from .recording import TRUTH_FILE, RawGroundTruth, read_ground_truth, truth_file, write_recording
from .several_probes import SimulatedProbe, write_probes
from .signal import ChannelFaults, DriftModel
from .trains import TrainModel

__all__ = [
    "TRUTH_FILE",
    "ChannelFaults",
    "DriftModel",
    "NoiseModel",
    "RawGroundTruth",
    "SimulatedProbe",
    "TrainModel",
    "read_ground_truth",
    "truth_file",
    "write_probes",
    "write_recording",
]
