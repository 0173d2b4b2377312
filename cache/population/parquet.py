"""A project's tables as Parquet files, for DuckDB, polars, Arrow and whatever else reads them.

The columns of each table are fixed (:data:`SCHEMAS`), whatever a session holds, so that the files of all sessions are
one table: ``SELECT * FROM 'presentations/*.parquet'``. What is missing is NULL. Times are seconds on the clock of their
session.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from allen_ecephys.errors import AllenEcephysError, MissingDataError, missing_extra
from allen_ecephys.files import atomic_folder
from allen_ecephys.progress import progress_bar
from allen_ecephys.stimulus.conditions import CONDITION
from allen_ecephys.units.filter import UnitFilter

from ..index.project_index import ProjectIndex
from ..tables.project_tables import ALIASES
from .indexed_session import IndexedStimuli, session_of

if TYPE_CHECKING:
    import pandas as pd

    from ..session_files import SessionFiles
    from ..tables.project_tables import TableName

#: Parameters of stimuli that are numbers.
_NUMBERS: Final = (
    "temporal_frequency", "spatial_frequency", "orientation", "contrast", "x_position", "y_position", "color", "frame",
    "phase", "size", "Speed", "Dir", "coherence",
)  # fmt: skip

#: Table -> column -> (Arrow type, what it holds).
SCHEMAS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "presentations": {
        "ecephys_session_id": ("int64", "the session"),
        "stimulus_presentation_id": ("int64", "number of the presentation in its session, from 0"),
        "start_time": ("double", "s"),
        "stop_time": ("double", "s"),
        "duration": ("double", "s; NULL in invalid times of the stimulus"),
        "stimulus_name": ("string", "'invalid_presentation' in invalid times of the stimulus"),
        "stimulus_block": ("int64", "run of one stimulus; NULL for the grey between them"),
        CONDITION: ("int64", "presentations of one session with equal stimulus and parameters share it"),
        "is_blank": ("bool", "a grey sweep between others of its stimulus"),
        **dict.fromkeys(_NUMBERS, ("double", "parameter of the stimulus; NULL where it has none, or two")),
        "size_pair": ("list<double>", "size along both axes, where they differ"),
        "phase_pair": ("list<double>", "phase along both axes, where they differ"),
        "other_parameters": ("string", "all other parameters of the presentation, a JSON object; NULL without any"),
    },
    "running_speed": {
        "ecephys_session_id": ("int64", "the session"),
        "start_time": ("double", "s"),
        "end_time": ("double", "s"),
        "velocity": ("double", "cm/s"),
    },
    "invalid_times": {
        "ecephys_session_id": ("int64", "the session"),
        "start_time": ("double", "s"),
        "stop_time": ("double", "s"),
        "tags": ("list<string>", "scope, id of the scope, and what is invalid: 'stimulus', 'all_probes', a probe, ..."),
    },
}

_TIMES: Final = ("start_time", "stop_time", "duration", "stimulus_name", "stimulus_block", CONDITION, "is_blank")


def export_tables(
    sessions: SessionFiles, target: str | Path, session_ids: Iterable[int] | None, *, stream: bool
) -> pd.DataFrame:
    """Write the tables (see :meth:`.EcephysProjectCache.export_tables`)."""
    import pandas as pd

    _arrow()
    project = ProjectIndex(sessions, stream=stream)
    units = sessions.queries.tables.units([], UnitFilter.none())
    every = sessions.queries.tables.sessions([], UnitFilter.none())
    chosen = (
        [int(i) for i in every.index] if session_ids is None else list(map(sessions.queries.known_session, session_ids))
    )
    rows: list[tuple[str, int, str]] = []
    with atomic_folder(Path(target)) as folder:
        of_chosen = units[units["ecephys_session_id"].isin(chosen)]
        rows.append(_write(folder / "sessions.parquet", _plain(every.loc[chosen], "sessions", "ecephys_session_id")))
        rows.append(_write(folder / "units.parquet", _plain(of_chosen, "units", "unit_id")))
        try:
            published = sessions.queries.metrics_of_all_types()
            metrics = sessions.queries.metrics(published, UnitFilter.none(), "documented", annotate=False)
            of_units = metrics[metrics.index.isin(of_chosen.index)].rename_axis("unit_id")
            rows.append(_write(folder / "unit_metrics.parquet", of_units.reset_index()))
        except (FileNotFoundError, ConnectionError) as error:
            rows.append(("unit_metrics.parquet", 0, f"left out: {error}"))
        invalid = []
        for session_id in progress_bar(chosen, desc="tables", unit="session"):
            try:
                index = project.of(session_id)
                told = IndexedStimuli(index)
                shown = presentation_rows(session_id, told.presentations)
            except AllenEcephysError as error:  # one missing or damaged file is no reason to lose all others
                rows.append((f"presentations/session_{session_id}.parquet", 0, f"left out: {error}"))
                continue
            rows.append(_write(folder / "presentations" / f"session_{session_id}.parquet", shown, "presentations"))
            invalid.append(told.invalid_times.reset_index(drop=True).assign(ecephys_session_id=session_id))
            rows.append(_write_running(folder, project, session_id))
        joined = pd.concat(invalid) if invalid else pd.DataFrame(columns=list(SCHEMAS["invalid_times"]))
        rows.append(_write(folder / "invalid_times.parquet", joined, "invalid_times"))
        (folder / "schema.json").write_text(json.dumps(_described(folder), indent=1), encoding="utf-8")
    return pd.DataFrame(rows, columns=["file", "rows", "message"]).set_index("file")


def presentation_rows(session_id: int, presentations: pd.DataFrame) -> pd.DataFrame:
    """Return a session's presentations with the columns of the schema."""
    import pandas as pd

    table = pd.DataFrame(presentations).reset_index()
    out: dict[str, Any] = {
        "ecephys_session_id": session_id,
        "stimulus_presentation_id": table["stimulus_presentation_id"],
    }
    for name in (*_TIMES, *_NUMBERS):
        held = table[name] if name in table else pd.Series(math.nan, index=table.index)
        whole = name in ("stimulus_block", CONDITION)
        out[name] = held.map(_number) if name in _NUMBERS else held.astype("Int64") if whole else held
    for name in ("size", "phase"):
        pairs = [_pair(value) for value in table[name]] if name in table else None
        out[f"{name}_pair"] = pd.Series(pairs, index=table.index, dtype=object)
    others = [name for name in table if name not in out]
    out["other_parameters"] = _as_json(table[others]) if others else None
    return pd.DataFrame(out, index=table.index)


def _number(value: Any) -> float:
    """Return a parameter as one number, NaN where it is none or two that differ."""
    if isinstance(value, tuple) and len(set(value)) == 1:
        value = value[0]
    return float(value) if isinstance(value, (int, float)) else math.nan


def _pair(value: Any) -> list[float] | None:
    return list(value) if isinstance(value, tuple) and len(set(value)) > 1 else None


def _as_json(table: pd.DataFrame) -> list[str | None]:
    """Return each row as a JSON object of the values that it has; equal rows are made once."""
    made: dict[tuple[Any, ...], str | None] = {}
    out = []
    for row in table.itertuples(index=False, name=None):
        key = tuple(None if value != value else value for value in row)
        if key not in made:
            held = {name: value for name, value in zip(table.columns, key, strict=True) if value is not None}
            made[key] = json.dumps(held) if held else None
        out.append(made[key])
    return out


def _plain(table: pd.DataFrame, name: TableName, index: str) -> pd.DataFrame:
    """Return a table without AllenSDK's second names for its columns, and with its index as a column."""
    return table.drop(columns=[alias for alias in ALIASES[name] if alias in table]).rename_axis(index).reset_index()


def _write_running(folder: Path, project: ProjectIndex, session_id: int) -> tuple[str, int, str]:
    path = folder / "running_speed" / f"session_{session_id}.parquet"
    try:
        with session_of(project, session_id) as session:
            speed = session.running_speed
    except MissingDataError as error:
        return (path.relative_to(folder).as_posix(), 0, f"left out: {error}")
    return _write(path, speed.assign(ecephys_session_id=session_id), "running_speed")


def _write(path: Path, table: pd.DataFrame, schema: str | None = None) -> tuple[str, int, str]:
    pa, parquet = _arrow()
    path.parent.mkdir(exist_ok=True)
    fixed = None
    if schema is not None:
        fixed = pa.schema([(name, _type(pa, kind)) for name, (kind, _) in SCHEMAS[schema].items()])
        table = table[list(SCHEMAS[schema])]
    arrow = pa.Table.from_pandas(table, schema=fixed, preserve_index=False).replace_schema_metadata(None)
    parquet.write_table(arrow, path, compression="zstd")
    name = path.name if path.parent.name not in SCHEMAS else f"{path.parent.name}/{path.name}"
    return name, len(table), ""


def _described(folder: Path) -> dict[str, Any]:
    """Return what ``schema.json`` says: the files, and of each table the columns, their types and what they hold."""
    _, parquet = _arrow()
    tables = {}
    for path in sorted(folder.glob("*.parquet")):
        meant = SCHEMAS.get(path.stem, {})
        columns = parquet.read_schema(path)
        tables[path.stem] = {
            "files": path.name,
            "columns": {
                name: {"type": str(kind), "about": meant[name][1] if name in meant else ""}
                for name, kind in zip(columns.names, columns.types, strict=True)
            },
        }
    for name in ("presentations", "running_speed"):
        columns = {column: {"type": kind, "about": about} for column, (kind, about) in SCHEMAS[name].items()}
        tables[name] = {"files": f"{name}/session_*.parquet", "columns": columns}
    return {"format": 1, "tables": tables}


def _type(pa: Any, kind: str) -> Any:
    if kind.startswith("list<"):
        return pa.list_(_type(pa, kind.removeprefix("list<").removesuffix(">")))
    return {"int64": pa.int64(), "double": pa.float64(), "string": pa.string(), "bool": pa.bool_()}[kind]


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        library = "pyarrow"
        raise missing_extra(library, "tables", "writing Parquet") from error
    return pa, parquet
