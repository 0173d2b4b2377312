"""Simulated sessions and raw recordings with the structure of the real ones, and the truth behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allen_ecephys.lazy_names import lazy_names

if TYPE_CHECKING:
    from .lfp import write_lfp
    from .raw.noise import NoiseModel
    from .raw.recording import TRUTH_FILE, RawGroundTruth, read_ground_truth, write_recording
    from .raw.several_probes import SimulatedProbe, write_probes
    from .raw.signal import ChannelFaults, DriftModel
    from .raw.trains import TrainModel
    from .rig.probes import RigProbe
    from .rig.session import RigTruth, write_rig
    from .scoring import SortingScore, score_phy_folder, score_sorting
    from .session import GroundTruth, write_session

__all__ = [
    "TRUTH_FILE",
    "ChannelFaults",
    "DriftModel",
    "GroundTruth",
    "NoiseModel",
    "RawGroundTruth",
    "RigProbe",
    "RigTruth",
    "SimulatedProbe",
    "SortingScore",
    "TrainModel",
    "read_ground_truth",
    "score_phy_folder",
    "score_sorting",
    "write_lfp",
    "write_probes",
    "write_recording",
    "write_rig",
    "write_session",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ChannelFaults": ".raw.signal",
        "DriftModel": ".raw.signal",
        "GroundTruth": ".session",
        "NoiseModel": ".raw.noise",
        "RawGroundTruth": ".raw.recording",
        "RigProbe": ".rig.probes",
        "RigTruth": ".rig.session",
        "SimulatedProbe": ".raw.several_probes",
        "SortingScore": ".scoring",
        "TRUTH_FILE": ".raw.recording",
        "TrainModel": ".raw.trains",
        "read_ground_truth": ".raw.recording",
        "score_phy_folder": ".scoring",
        "score_sorting": ".scoring",
        "write_lfp": ".lfp",
        "write_probes": ".raw.several_probes",
        "write_recording": ".raw.recording",
        "write_rig": ".rig.session",
        "write_session": ".session",
    },
)
