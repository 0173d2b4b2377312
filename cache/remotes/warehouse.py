"""The warehouse API of the Allen Institute as a remote: tables by RMA queries, files by their well-known-file links.

Tables are written as the CSV files of the released layout, so that everything behind them is the same for every remote.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import pandas as pd

from allen_ecephys.errors import DownloadError, FileFormatError, RemoteNotFoundError, in_words
from allen_ecephys.nwb import layout

from ..retrying.rules import DEFAULT_POLICY, TransferPolicy
from .asking import patiently
from .fsspec import OpenFileResponse
from .http import HttpRemote, HttpResponse, whole_body
from .protocol import RemoteFile, RemoteStatusError, safe_key
from .registry import judged_by_release

PUBLIC_HOST: Final = "api.brain-map.org"
PAGE_ROWS: Final = 5000
#: No table of the project has near as many; the largest, of its units, has 135,275.
_MOST_ROWS: Final = 5_000_000
_UNIT: Final = "ecephys_unit_id"
#: The warehouse's product that owns the stimulus templates.
TEMPLATES_PRODUCT: Final = 714914585

_CHANNEL_COLUMNS: Final = (
    "ecephys_channels.id,ecephys_probe_id,local_index,probe_horizontal_position,probe_vertical_position,"
    f"{','.join(layout.CCF_COLUMNS)},"
    "structures.id as ecephys_structure_id,structures.acronym as ecephys_structure_acronym"
)
_QUERIES: Final = {
    "sessions.csv": "model::EcephysSession,rma::include,specimen(donor(age)),well_known_files(well_known_file_type)",
    "probes.csv": "model::EcephysProbe",
    "channels.csv": f"model::EcephysChannel,rma::include,structure,rma::options[tabular$eq'{_CHANNEL_COLUMNS}']",
    "units.csv": "model::EcephysUnit",
}
_METRICS_QUERY: Final = (
    "model::EcephysUnitMetricBundle,"
    "rma::criteria,ecephys_unit(ecephys_channel(ecephys_probe(ecephys_session[{condition}])))"
)
_FILE_QUERY: Final = (
    "model::WellKnownFile,"
    "rma::criteria,well_known_file_type[name$eq'{kind}'][attachable_type$eq'{owner}'][attachable_id$eq{id}]"
)

_SESSION_METRICS = re.compile(r"session_(\d+)/session_\1_analysis_metrics\.csv")
_TYPE_METRICS = re.compile(r"([\w.-]+)_analysis_metrics\.csv")
_SESSION_NWB = re.compile(r"session_(\d+)/session_\1\.nwb")
_LFP_NWB = re.compile(r"session_\d+/probe_(\d+)_lfp\.nwb")
_MOVIE = re.compile(r"natural_movie_templates/natural_movie_(\d+)\.h5")
_SCENE = re.compile(r"natural_scene_templates/natural_scene_(\d+)\.tiff")

#: How many tables are kept while they are being read.
_KEPT_TABLES: Final = 4


class WarehouseError(RemoteStatusError):
    """The warehouse does not answer, or not what the question asks."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 200)

    @property
    def transient(self) -> bool:
        """Whether to ask again: no, the query was repeated already."""
        return False


class WarehouseRemote:
    """The warehouse API (see :class:`.Remote`).

    Parameters
    ----------
    scheme, host
        Its address.
    page_rows
        Rows of one answer.
    timeout
        Longest silence (s) within an answer; there is no limit on its total time.
    policy
        How patiently a query is repeated.
    """

    def __init__(
        self,
        *,
        scheme: str = "http",
        host: str = PUBLIC_HOST,
        page_rows: int = PAGE_ROWS,
        timeout: float = 30.0,
        policy: TransferPolicy = DEFAULT_POLICY,
    ) -> None:
        self._http = HttpRemote(f"{scheme}://{host}/", read_timeout=timeout)
        self._is_public = host == PUBLIC_HOST
        self._page_rows = page_rows
        self._policy = policy
        self._tables: dict[str, bytes] = {}
        self._template_links: dict[str, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": {}}

    def __repr__(self) -> str:
        return f"WarehouseRemote({self.url!r})"

    @property
    def url(self) -> str:
        """The API's address."""
        return self._http.url

    # --- the protocol ------------------------------------------------------------------------------------------

    def locate(self, key: str) -> RemoteFile:
        """Return what the warehouse says about a file; a table is queried (see :class:`.Remote`)."""
        if (make := self._rows_of(safe_key(key))) is not None:
            content = self._table(key, make)
            return RemoteFile(key, self.url + key, len(content), f'"{hashlib.sha256(content).hexdigest()}"')
        file = self._http.locate_url(key, self._link(key))
        return judged_by_release(file) if self._is_public else file

    def open_range(
        self, file: RemoteFile, start: int = 0, stop: int | None = None, *, if_range: str | None = None
    ) -> HttpResponse | OpenFileResponse:
        """Open bytes [start, stop) of a file (see :class:`.Remote`)."""
        make = self._rows_of(file.key)
        if make is None:
            return self._http.open_range(file, start, stop, if_range=if_range)
        content = self._table(file.key, make)
        if if_range is not None and if_range != file.etag:
            start, stop = 0, None
        return OpenFileResponse(io.BytesIO(content), file, start, stop, len(content))

    # --- queries -----------------------------------------------------------------------------------------------

    def rows(self, criteria: str) -> Sequence[dict[str, Any]]:
        """Return all rows of an RMA query, page by page.

        Raises
        ------
        WarehouseError
            If the warehouse cannot be reached, reports no success, or stops before the number of rows it announced.
        """
        found: list[dict[str, Any]] = []
        total: int | None = None
        while total is None or len(found) < total:
            try:
                answer = patiently(partial(self._page, criteria, len(found)), self._policy)
            except WarehouseError:
                raise
            except DownloadError as error:  # repeated as often as is sensible: whoever asked need not repeat it again
                msg = f"the warehouse {self.url} gave up on {criteria[:60]}...: {error}"
                raise WarehouseError(msg) from error
            total = self._announced(answer, criteria) if total is None else total
            if not answer["msg"] and len(found) < total:
                msg = f"{self.url} gave {len(found):,} of {total:,} rows of {criteria[:60]}...; try again later"
                raise WarehouseError(msg)
            found += answer["msg"]
        return found

    def _announced(self, answer: Mapping[str, Any], criteria: str) -> int:
        """Return how many rows the warehouse says there are."""
        total = answer.get("total_rows")
        if not isinstance(total, int) or not 0 <= total <= _MOST_ROWS:
            msg = f"{self.url} announces {str(total)[:40]} rows of {criteria[:60]}..., which cannot be"
            raise WarehouseError(msg)
        return total

    def _page(self, criteria: str, start: int) -> dict[str, Any]:
        paging = f"rma::options[start_row$eq{start}][num_rows$eq{self._page_rows}][order$eq'id']"
        url = f"{self._base}api/v2/data/query.json?criteria={quote(criteria, safe=_SAFE)},{quote(paging, safe=_SAFE)}"
        with contextlib.closing(self._http.request("GET", url)) as reply:
            if reply.status_code != 200:
                msg = f"the warehouse answered HTTP {reply.status_code}"
                raise RemoteStatusError(msg, reply.status_code, reply.headers.get("Retry-After"))
            try:
                answer = json.loads(whole_body(reply))
            except (ValueError, RecursionError, OSError) as error:
                msg = f"the warehouse's answer broke off or is no JSON: {in_words(error)}"
                raise DownloadError(msg) from error
        if not isinstance(answer, dict) or not answer.get("success"):
            said = answer.get("msg") if isinstance(answer, dict) else answer
            msg = f"the warehouse could not answer {criteria[:80]}: {str(said)[:200]}"
            raise WarehouseError(msg)
        if not isinstance(answer.get("msg"), list) or not all(isinstance(row, dict) for row in answer["msg"]):
            msg = f"the warehouse's answer to {criteria[:80]} has no rows"
            raise WarehouseError(msg)
        return answer

    @property
    def _base(self) -> str:
        return self._http.url

    # --- tables ------------------------------------------------------------------------------------------------

    def _rows_of(self, key: str) -> Callable[[], pd.DataFrame] | None:
        """Return what makes the table called `key`, or None if it is no table."""
        if key in _QUERIES:
            return partial(self._project_table, key)
        if match := _SESSION_METRICS.fullmatch(key):
            return partial(self._metrics_table, f"id$in{match[1]}", key)
        if match := _TYPE_METRICS.fullmatch(key):
            return partial(self._metrics_table, f"stimulus_name$in'{match[1]}'", key)
        return None

    def _table(self, key: str, make: Callable[[], pd.DataFrame]) -> bytes:
        """Return the table that `make` queries, as the bytes of a CSV file."""
        if key not in self._tables:
            self._tables[key] = make().to_csv().encode()
            while len(self._tables) > _KEPT_TABLES:
                del self._tables[next(iter(self._tables))]
        return self._tables[key]

    def _project_table(self, key: str) -> pd.DataFrame:
        rows = self.rows(_QUERIES[key])
        if not rows:
            msg = f"the warehouse has no rows for {key}"
            raise RemoteNotFoundError(msg)
        if key == "sessions.csv":
            rows = [_flat_session(row) for row in rows]
        table = typed(pd.DataFrame(rows))
        if key == "probes.csv":
            table = table.rename(columns={"use_lfp_data": "has_lfp_data"})
        return table.set_index("id").sort_index()

    def _metrics_table(self, condition: str, key: str) -> pd.DataFrame:
        rows = self.rows(_METRICS_QUERY.format(condition=condition))
        if not rows:
            msg = f"the warehouse has no analysis metrics for {key}"
            raise RemoteNotFoundError(msg)
        try:
            metrics = [{_UNIT: row[_UNIT], **json.loads(row["data"])} for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            msg = f"the warehouse's metrics for {key} cannot be read: {in_words(error)}"
            raise FileFormatError(msg) from error
        return typed(pd.DataFrame(metrics)).set_index(_UNIT).sort_index()

    # --- files -------------------------------------------------------------------------------------------------

    def _absolute(self, link: str) -> str:
        return self._base + link.lstrip("/")

    def _link(self, key: str) -> str:
        """Return the address of a file."""
        if match := _SESSION_NWB.fullmatch(key):
            query = _FILE_QUERY.format(kind="EcephysNwb", owner="EcephysSession", id=match[1])
        elif match := _LFP_NWB.fullmatch(key):
            query = _FILE_QUERY.format(kind="EcephysLfpNwb", owner="EcephysProbe", id=match[1])
        else:
            links = self._templates()
            if key not in links:
                msg = f"the warehouse has no file {key!r}"
                raise RemoteNotFoundError(msg)
            return links[key]
        rows = self.rows(query)
        if not rows:
            msg = f"the warehouse has no file {key!r}"
            raise RemoteNotFoundError(msg)
        if len(rows) > 1:
            msg = f"the warehouse has {len(rows)} files for {key!r}, of which one is expected"
            raise WarehouseError(msg)
        return self._absolute(rows[0]["download_link"])

    def _templates(self) -> dict[str, str]:
        """Return key -> address of the movies and scenes."""
        if self._template_links is None:
            rows = self.rows(_FILE_QUERY.format(kind="Stimulus", owner="Product", id=TEMPLATES_PRODUCT))
            links = {}
            for row in rows:
                path = str(row.get("path", ""))
                if match := re.fullmatch(r".*natural_movie_(\d+)\.npy", path):
                    links[f"natural_movie_templates/natural_movie_{match[1]}.h5"] = self._absolute(row["download_link"])
                elif match := re.fullmatch(r".*/(\d+)\.tiff", path):
                    links[f"natural_scene_templates/natural_scene_{match[1]}.tiff"] = self._absolute(
                        row["download_link"]
                    )
            self._template_links = links
        return self._template_links


#: Characters of an RMA query that are sent as they are.
_SAFE: Final = ":$[]'(),="

_TRUTH: Final = {"true": True, "True": True, "false": False, "False": False}
_NOTHING: Final = frozenset({"", "null", "None", "nan", "NaN"})


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with text columns read as numbers or truth values, where the whole column is of one kind.

    The warehouse answers tabular queries in text only. Each column is judged once, as a whole.
    """
    return table.assign(**{str(name): _typed_column(table[name]) for name in table.columns})


def _typed_column(column: pd.Series[Any]) -> pd.Series[Any]:
    values = column.map(lambda value: None if isinstance(value, str) and value.strip() in _NOTHING else value)
    texts = values[values.map(lambda value: isinstance(value, str))]
    if texts.empty:
        return values.infer_objects()
    if texts.isin(list(_TRUTH)).all():
        return values.map(lambda value: _TRUTH.get(value, value) if isinstance(value, str) else value).infer_objects()
    if pd.to_numeric(texts, errors="coerce").notna().all():
        return pd.to_numeric(values)
    return values


def _flat_session(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a session's row with the animal's columns taken out of their nesting."""
    specimen = row.get("specimen") or {}
    donor = specimen.get("donor") or {}
    files = row.get("well_known_files") or []
    kinds = {(file.get("well_known_file_type") or {}).get("name") for file in files}
    nested = {"specimen", "well_known_files", "fail_eye_tracking", "stimulus_name"}
    return {name: value for name, value in row.items() if name not in nested} | {
        "session_type": row.get("stimulus_name"),
        "age_in_days": (donor.get("age") or {}).get("days"),
        "sex": donor.get("sex"),
        # Wild-type animals have no genotype in the warehouse; the released table says wt/wt.
        "genotype": donor.get("full_genotype") or "wt/wt",
        "has_nwb": "EcephysNwb" in kinds,
    }
