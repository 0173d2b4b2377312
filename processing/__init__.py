"""From raw probe data, or a simulation of it, to NWB files and metric tables.

One function for each part of the way; each makes folders that are whole or absent and are reused when nothing they
depend on changed:

* :func:`process_spike_band`: depth estimation, median subtraction, whitening;
* :func:`sort_raw`: the same up to the medians, then sorting; its result, :class:`SortedProbe`, measures and packages;
* :func:`measure_units`: from sorted spikes (:func:`open_probe`) to the table of metrics;
* :func:`package_units`: from measured units of some probes to a session file;
* :func:`run_whole_session`: from a session description, what the rig left and measured units to the session's files;
* :func:`run_stimulus_metrics`: from a session file to the table of stimulus metrics;
* :func:`process_sessions`: all of this for whole sessions, from one file each (:func:`read_session_file`);
  :func:`describe_folder` writes that file from a rig's folder, :func:`plan_sessions` says what it would take,
  :func:`session_status` what is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allen_ecephys.lazy_names import lazy_names

if TYPE_CHECKING:
    from .recording import Recording
    from .sorted_spikes import SortedSpikes
    from .stages.describing import describe_folder
    from .stages.opening import ProbeData, open_probe
    from .stages.probe import SortedProbe, sort_raw
    from .stages.session import package_units
    from .stages.session_checks import check_sessions
    from .stages.session_file import SessionFile, read_session_file
    from .stages.session_page import write_session_page
    from .stages.session_plan import PlannedStage, Remaining, SessionPlan, plan_sessions
    from .stages.session_run import SessionOutputs, process_sessions, session_outputs
    from .stages.session_schema import session_schema
    from .stages.session_status import StageStatus, session_status
    from .stages.spike_band import SpikeBand, process_spike_band
    from .stages.stimulus_metrics import run_stimulus_metrics
    from .stages.units import UnitParameters, measure_units
    from .stages.whole_session import run_whole_session, whole_session_inputs

__all__ = [
    "PlannedStage",
    "ProbeData",
    "Recording",
    "Remaining",
    "SessionFile",
    "SessionOutputs",
    "SessionPlan",
    "SortedProbe",
    "SortedSpikes",
    "SpikeBand",
    "StageStatus",
    "UnitParameters",
    "check_sessions",
    "describe_folder",
    "measure_units",
    "open_probe",
    "package_units",
    "plan_sessions",
    "process_sessions",
    "process_spike_band",
    "read_session_file",
    "run_stimulus_metrics",
    "run_whole_session",
    "session_outputs",
    "session_schema",
    "session_status",
    "sort_raw",
    "whole_session_inputs",
    "write_session_page",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PlannedStage": ".stages.session_plan",
        "ProbeData": ".stages.opening",
        "Recording": ".recording",
        "Remaining": ".stages.session_plan",
        "SessionFile": ".stages.session_file",
        "SessionOutputs": ".stages.session_run",
        "SessionPlan": ".stages.session_plan",
        "SortedProbe": ".stages.probe",
        "SortedSpikes": ".sorted_spikes",
        "SpikeBand": ".stages.spike_band",
        "StageStatus": ".stages.session_status",
        "UnitParameters": ".stages.units",
        "check_sessions": ".stages.session_checks",
        "describe_folder": ".stages.describing",
        "measure_units": ".stages.units",
        "open_probe": ".stages.opening",
        "package_units": ".stages.session",
        "plan_sessions": ".stages.session_plan",
        "process_sessions": ".stages.session_run",
        "process_spike_band": ".stages.spike_band",
        "read_session_file": ".stages.session_file",
        "run_stimulus_metrics": ".stages.stimulus_metrics",
        "run_whole_session": ".stages.whole_session",
        "session_outputs": ".stages.session_run",
        "session_schema": ".stages.session_schema",
        "session_status": ".stages.session_status",
        "sort_raw": ".stages.probe",
        "whole_session_inputs": ".stages.whole_session",
        "write_session_page": ".stages.session_page",
    },
)
