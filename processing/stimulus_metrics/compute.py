"""The metric table of a session, and of many."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from allen_ecephys.errors import AllenEcephysError, InvalidValueError, UnknownNameError, missing_extra, suggest
from allen_ecephys.metric_names import RELEASED_NAMES
from allen_ecephys.progress import progress_bar

from ..ranges import check_whole
from .names import NOT_RELEASED, RELEASED_SUFFIXES, release_order
from .registry import Metric, registered_metrics, user_metrics
from .responses import Definition, SessionResponses, StimulusResponses, check_definition
from .stimuli import DOT_MOTION, DRIFTING_GRATINGS

if TYPE_CHECKING:
    from distributed import Client
    from numpy.typing import NDArray

    from allen_ecephys.session.session import EcephysSession
    from allen_ecephys.units.filter import UnitFilter

log = logging.getLogger(__name__)

Names = Literal["documented", "release"]
#: Units whose responses are held at once: 54,000 movie frames of 128 units are 55 MB.
UNITS_AT_ONCE = 128


def compute_unit_analysis_metrics(
    session: EcephysSession | SessionResponses,
    definition: Definition = "release",
    *,
    seed: int = 0,
    n_shuffles: int = 1000,
    rf_mask_threshold: float | None = None,
    names: Names = "documented",
    unit_ids: Iterable[int] | None = None,
    metrics: Sequence[Metric] | None = None,
) -> pd.DataFrame:
    """Compute every stimulus metric of every unit of a session.

    Parameters
    ----------
    session
        An open session (its shown units are used, see ``session.with_units``), or the same as plain arrays.
    definition
        ``"release"`` gives the published numbers with their known defects, ``"corrected"`` mends each, and
        ``"allensdk"`` what AllenSDK 2.16 computes from the same file; they are described in the documentation of this
        package.
    seed
        Of the surrogates of ``p_value_rf``. Equal seeds give equal tables, whatever the number of threads.
    n_shuffles
        Number of those surrogates; the release has 1000.
    rf_mask_threshold
        Standard deviations below the maximum of a receptive field map at which its region ends. None for that of the
        definition: 1.0, which made the published tables, and 0.5 in AllenSDK's class.
    names
        ``"documented"`` column names, all of them; or ``"release"``: names, order and columns of the released CSV file
        of this type of session.
    unit_ids
        Units to compute, all shown ones if None.
    metrics
        Metrics to compute, all registered ones if None.

    Returns
    -------
    pandas.DataFrame
        One row a unit, indexed by unit id (``unit_id``, or ``ecephys_unit_id`` with released names). Float64 columns;
        flags are bool, or nullable boolean where they are missing. Columns of stimuli that the session did not show
        are all missing; bad or missing data makes values NaN and never raises.

    Raises
    ------
    UnknownNameError
        For a definition or a kind of names that does not exist.
    UnknownIdError
        For a unit id that the session does not have.

    Examples
    --------
    >>> table = compute_unit_analysis_metrics(session)
    >>> table[["pref_ori_dg", "g_osi_dg", "firing_rate_fl"]].round(2).head(2)
                     pref_ori_dg  g_osi_dg  firing_rate_fl
    unit_id
    700000001000067        315.0      0.23            2.40
    700000001000079         45.0      0.07            7.99
    """
    check_definition(definition)
    check_whole("seed", seed)
    check_whole("n_shuffles", n_shuffles, least=1)
    if names not in ("documented", "release"):
        msg = f"names must be 'documented' or 'release', not {names!r}{suggest(names, ('documented', 'release'))}"
        raise UnknownNameError(msg)
    source = session if isinstance(session, SessionResponses) else SessionResponses.from_session(session, unit_ids)
    ids = source.unit_ids if unit_ids is None else np.asarray(list(unit_ids), dtype=np.int64)
    wanted = registered_metrics() if metrics is None else tuple(metrics)
    options = {
        "definition": definition,
        "seed": seed,
        "n_shuffles": n_shuffles,
        "rf_mask_threshold": rf_mask_threshold,
    }
    blocks: dict[str, list[NDArray[Any]]] = {column: [] for metric in wanted for column in metric.columns}
    starts = range(0, len(ids), UNITS_AT_ONCE)
    for first in progress_bar(starts, desc="stimulus metrics", unit="block"):
        for column, values in _metrics_of_units(source, ids[first : first + UNITS_AT_ONCE], wanted, options).items():
            blocks[column].append(values)
    flags = {flag for metric in wanted for flag in metric.flags}
    columns = {column: _column(parts, column in flags, len(ids)) for column, parts in blocks.items()}
    table = pd.DataFrame(columns, index=pd.Index(ids, name="unit_id"))
    return table if names == "documented" else with_release_names(table, _session_type(source))


def _metrics_of_units(
    source: SessionResponses, unit_ids: NDArray[np.int64], metrics: Sequence[Metric], options: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    """Return the columns of some units; those of stimuli that were not shown are not among them."""
    spikes = source.spikes(unit_ids)
    columns: dict[str, NDArray[Any]] = {}
    # one stimulus after the other, so that only one's counts are held
    for stimulus in dict.fromkeys(metric.stimulus for metric in metrics):
        design = source.design(stimulus, options["definition"])
        if design is None:
            continue
        responses = StimulusResponses(source, design, spikes, **options)
        for metric in metrics:
            if metric.stimulus == stimulus:
                columns.update(_evaluate(metric, responses))
    return columns


def _evaluate(metric: Metric, responses: StimulusResponses) -> dict[str, NDArray[Any]]:
    name = getattr(metric.function, "__name__", str(metric.function))
    try:
        result = metric.function(responses)
    except Exception as error:
        if metric.built_in or isinstance(error, AllenEcephysError):
            raise
        msg = f"the metric {name} ({', '.join(metric.columns)}) failed: {type(error).__name__}: {error}"
        raise InvalidValueError(msg) from error
    values = (result,) if len(metric.columns) == 1 else tuple(result)
    if len(values) != len(metric.columns):
        msg = f"the metric {name} returned {len(values)} arrays for the {len(metric.columns)} columns {metric.columns}"
        raise InvalidValueError(msg)
    arrays = {column: np.asarray(value) for column, value in zip(metric.columns, values, strict=True)}
    for column, array in arrays.items():
        if array.shape != (responses.n_units,):
            msg = (
                f"the metric {name} returned an array of shape {array.shape} for the column {column}; it must return "
                f"one value for each of the {responses.n_units} units in responses.unit_ids"
            )
            raise InvalidValueError(msg)
    return arrays


def _column(parts: list[NDArray[Any]], is_flag: bool, length: int) -> Any:
    if not parts:
        return pd.array([pd.NA] * length, dtype="boolean") if is_flag else np.full(length, np.nan)
    values = np.concatenate(parts)
    if is_flag:
        return values.astype(bool)
    return values if values.dtype.kind == "i" else values.astype(np.float64)


def with_release_names(table: pd.DataFrame, session_type: str | None) -> pd.DataFrame:
    """Return a metric table with the columns, names, order and index name of the released CSV files.

    Parameters
    ----------
    table
        As :func:`compute_unit_analysis_metrics` returns it.
    session_type
        ``"brain_observatory_1.1"`` or ``"functional_connectivity"``: only the columns that the file of that type has
        are kept. None keeps those of both.

    Examples
    --------
    >>> table = compute_unit_analysis_metrics(session)
    >>> released = with_release_names(table, "brain_observatory_1.1")
    >>> "run_pval_dg" in released, "p_run_mod_dg" in table
    (True, True)
    """
    suffixes = RELEASED_SUFFIXES.get(session_type or "")
    known = {column for metric in registered_metrics() if metric.built_in for column in metric.columns}
    kept = [
        column
        for column in table
        if column not in NOT_RELEASED
        and (suffixes is None or column not in known or str(column).rsplit("_", 1)[-1] in suffixes)
    ]
    renamed = table[kept].rename(columns=RELEASED_NAMES)
    return renamed[release_order(map(str, renamed))].rename_axis("ecephys_unit_id")


def _session_type(source: SessionResponses) -> str | None:
    """Tell the type of a session from the stimuli that only one type shows."""
    gratings = source.design(DRIFTING_GRATINGS)
    if source.design(DOT_MOTION) is not None or (
        gratings is not None and gratings.session_name == "drifting_gratings_75_repeats"
    ):
        return "functional_connectivity"
    return "brain_observatory_1.1" if gratings is not None else None


def compute_for_sessions(
    paths: Iterable[str | os.PathLike[str]],
    definition: Definition = "release",
    *,
    client: Client | None = None,
    unit_filter: UnitFilter | None = None,
    seed: int = 0,
    n_shuffles: int = 1000,
    rf_mask_threshold: float | None = None,
) -> pd.DataFrame:
    """Compute the metrics of many sessions, in parallel on dask.

    Parameters
    ----------
    paths
        Session NWB files.
    client
        A dask client whose workers can open those paths. None computes one session after the other, here.
    unit_filter
        Which units to compute; the default filter if None, ``UnitFilter.none()`` for all.
    definition, seed, n_shuffles, rf_mask_threshold
        As in :func:`compute_unit_analysis_metrics`. The result does not depend on the number of workers.

    Returns
    -------
    pandas.DataFrame
        The tables of all sessions under each other, in the order of `paths`, indexed by unit id, with a first column
        ``ecephys_session_id``. Metrics added with :func:`metric` in this process are computed on the workers too.

    Examples
    --------
    >>> compute_for_sessions(["session.nwb"])[["ecephys_session_id", "g_osi_dg"]].round(2).head(2)
                     ecephys_session_id  g_osi_dg
    unit_id
    700000001000067           700000001      0.23
    700000001000079           700000001      0.07
    """
    check_definition(definition)
    files = [os.fspath(path) for path in paths]
    options = {
        "definition": definition,
        "seed": seed,
        "n_shuffles": n_shuffles,
        "rf_mask_threshold": rf_mask_threshold,
    }
    added = user_metrics()
    if client is None:
        tables = [_session_table(path, unit_filter, added, options) for path in progress_bar(files, desc="sessions")]
    else:
        tables = _on_workers(client, files, unit_filter, added, options)
    if not tables:
        return pd.DataFrame({"ecephys_session_id": np.empty(0, dtype=np.int64)}, index=pd.Index([], name="unit_id"))
    return pd.concat(tables)


def _on_workers(
    client: Client,
    files: list[str],
    unit_filter: UnitFilter | None,
    added: tuple[Metric, ...],
    options: dict[str, Any],
) -> list[pd.DataFrame]:
    try:
        from distributed import as_completed
    except ImportError as error:
        library = "distributed"
        raise missing_extra(library, library, "Computing on a dask client") from error
    # pure=False: a file that changed under the same path is not the same task
    futures = [client.submit(_session_table, path, unit_filter, added, options, pure=False) for path in files]
    place = {future.key: i for i, future in enumerate(futures)}
    tables: list[pd.DataFrame] = [pd.DataFrame()] * len(files)
    finished: Any = as_completed  # untyped
    for future in progress_bar(finished(futures), total=len(files), desc="sessions"):
        tables[place[future.key]] = future.result()
    return tables


def _session_table(
    path: str, unit_filter: UnitFilter | None, added: tuple[Metric, ...], options: dict[str, Any]
) -> pd.DataFrame:
    """Compute one session's table: the task of a worker, which may not know the metrics added elsewhere."""
    from allen_ecephys.session.session import EcephysSession
    from allen_ecephys.units.filter import UnitFilter

    metrics = [*(metric for metric in registered_metrics() if metric.built_in), *added]
    log.info("computing the metrics of %s", path)
    with EcephysSession(path, unit_filter=unit_filter or UnitFilter()) as session:
        table = compute_unit_analysis_metrics(session, metrics=metrics, **options)
        table.insert(0, "ecephys_session_id", session.ecephys_session_id)
    return table
