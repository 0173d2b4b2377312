"""Stage ``stimulus_metrics``: how the units of a session respond to each stimulus.

Reads a session file; leaves ``unit_analysis_metrics.csv``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..pipeline.stage import Stage, StageResult
from ..stimulus_metrics.compute import compute_unit_analysis_metrics

if TYPE_CHECKING:
    from ..stimulus_metrics.responses import Definition

TABLE: Final = "unit_analysis_metrics.csv"
STAGE: Final = Stage("stimulus_metrics", outputs=(TABLE,))


def run_stimulus_metrics(
    session_path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    definition: Definition = "release",
    *,
    seed: int = 0,
    n_shuffles: int = 1000,
) -> StageResult:
    """Compute the stimulus metrics of every unit of a session file, or reuse what an earlier run left.

    Parameters
    ----------
    session_path
        Session NWB file; all its units are measured, whatever their quality.
    folder
        Where the stage ``stimulus_metrics`` goes; its table is ``unit_analysis_metrics.csv``, with the column names of
        the released files, as ``EcephysProjectCache.add_session`` takes them.
    definition, seed, n_shuffles
        As :func:`~.compute.compute_unit_analysis_metrics`.

    Raises
    ------
    StageError
        If the stage's folder holds something that no stage wrote.
    """
    from allen_ecephys.session.session import EcephysSession
    from allen_ecephys.units.filter import UnitFilter

    def work(made: Path) -> dict[str, Any]:
        with EcephysSession(session_path, unit_filter=UnitFilter.none()) as session:
            table = compute_unit_analysis_metrics(
                session, definition, seed=seed, n_shuffles=n_shuffles, names="release"
            )
        table.to_csv(made / TABLE)
        return {"units": len(table), "columns": table.shape[1]}

    parameters = {"definition": definition, "seed": seed, "n_shuffles": n_shuffles}
    return STAGE.run(folder, work, inputs=[session_path], parameters=parameters)
