"""The warehouse API, answered by a real HTTP server that knows the queries and pages its rows."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cache.remotes.warehouse import WarehouseError, WarehouseRemote, typed
from allen_ecephys.cache.retrying.rules import TransferPolicy
from allen_ecephys.errors import DownloadError, FileFormatError, RemoteNotFoundError, UnknownIdError

PATIENT = TransferPolicy(sleep=lambda _: None)


def nwb_file(kind: str, owner: int, link: int) -> dict:
    return {"id": link, "attachable_id": owner, "download_link": f"/api/v2/well_known_file_download/{link}"}


def session(number: int, genotype: str | None, kind: str = "brain_observatory_1.1") -> dict:
    return {
        "id": number,
        "date_of_acquisition": "2019-01-01T00:00:00Z",
        "isi_experiment_id": 10 + number,
        "published_at": "2019-10-03T00:00:00Z",
        "specimen_id": 20 + number,
        "stimulus_name": kind,
        "fail_eye_tracking": False,
        "specimen": {"donor": {"age": {"days": 118.0}, "sex": "F", "full_genotype": genotype}},
        "well_known_files": [{"well_known_file_type": {"name": "EcephysNwb"}}] if number == 1 else [],
    }


SESSIONS = [session(1, None), session(2, "Sst/wt", "functional_connectivity")]
PROBES = [
    {"id": 101, "ecephys_session_id": 1, "name": "probeA", "phase": "3a", "sampling_rate": 30000.0,
     "lfp_sampling_rate": 2500.0, "lfp_temporal_subsampling_factor": 2.0, "use_lfp_data": True},
    {"id": 102, "ecephys_session_id": 2, "name": "probeA", "phase": "PXI", "sampling_rate": 30000.0,
     "lfp_sampling_rate": 2500.0, "lfp_temporal_subsampling_factor": None, "use_lfp_data": False},
]  # fmt: skip
# Tabular answers are text throughout.
CHANNELS = [
    {"id": str(1000 + k), "ecephys_probe_id": str(101 + k % 2), "local_index": str(k),
     "probe_horizontal_position": "43", "probe_vertical_position": "20",
     "anterior_posterior_ccf_coordinate": "-1000.0" if k == 3 else "8000.5",
     "dorsal_ventral_ccf_coordinate": "-1000.0" if k == 3 else "3000",
     "left_right_ccf_coordinate": "-1000.0" if k == 3 else "7000",
     "ecephys_structure_id": None if k == 4 else "385", "ecephys_structure_acronym": None if k == 4 else "VISp"}
    for k in range(7)
]  # fmt: skip
UNITS = [
    {"id": 1 + k, "ecephys_channel_id": 1000 + k, "amplitude_cutoff": 0.01 * k, "presence_ratio": 0.99,
     "isi_violations": None if k == 2 else 0.1, "quality": "good", "PT_ratio": 0.5, "snr": 1.5}
    for k in range(7)
]  # fmt: skip
METRICS = [
    {"id": 50 + k, "ecephys_unit_id": 1 + k,
     "data": json.dumps(
         {"fano_ns": 1.5, "run_pval_dg": None if k else 0.25, "p_value_rf": bool(k), "on_screen_rf": 0.5})}
    for k in range(3)
]  # fmt: skip


class Warehouse:
    """What the server answers; a test may change it."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.fail: list[object] = []  # statuses or bodies that come before the right answer
        self.announced: int | None = None
        self.nwb = b"\x89HDF\r\n\x1a\n"
        self.files = {
            "EcephysNwb": [nwb_file("EcephysNwb", 1, 900)],
            "EcephysLfpNwb": [nwb_file("EcephysLfpNwb", 101, 901)],
            "Stimulus": [
                {"id": 902, "path": "/x/natural_movie_1.npy", "download_link": "/api/v2/well_known_file_download/902"},
                {"id": 903, "path": "/x/10.tiff", "download_link": "/api/v2/well_known_file_download/903"},
                {"id": 904, "path": "/x/readme.txt", "download_link": "/api/v2/well_known_file_download/904"},
            ],
        }

    def rows(self, query: str) -> list[dict]:
        if self.announced == 0:
            return []
        if match := re.search(r"well_known_file_type\[name\$eq'(\w+)'\]", query):
            rows = self.files[match[1]]
            owner = re.search(r"attachable_id\$eq(\d+)", query)
            return [r for r in rows if match[1] == "Stimulus" or owner is None or r["attachable_id"] == int(owner[1])]
        if "EcephysUnitMetricBundle" in query:
            wanted = re.search(r"ecephys_session\[(?:id\$in(\d+)|stimulus_name\$in'([\w.]+)')\]", query)
            return METRICS if "1" in (wanted[1], (wanted[2] or "")[-1:]) else []
        model = re.search(r"model::(\w+)", query)[1]
        return {"EcephysSession": SESSIONS, "EcephysProbe": PROBES, "EcephysChannel": CHANNELS, "EcephysUnit": UNITS}[
            model
        ]


@pytest.fixture
def warehouse() -> Warehouse:
    return Warehouse()


@pytest.fixture
def remote(warehouse, run_server) -> WarehouseRemote:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.requests.append(("GET", self.path))
            parts = urlsplit(self.path)
            if parts.path.startswith("/api/v2/well_known_file_download/"):
                self.reply(200, warehouse.nwb)
                return
            assert parts.path == "/api/v2/data/query.json"
            query = unquote(parts.query)
            warehouse.queries.append(query)
            if warehouse.fail:
                failure = warehouse.fail.pop(0)
                self.reply(failure, b"") if isinstance(failure, int) else self.reply(200, failure)
                return
            start = int(re.search(r"start_row\$eq(\d+)", query)[1])
            number = int(re.search(r"num_rows\$eq(\d+)", query)[1])
            rows = warehouse.rows(query)
            total = len(rows) if warehouse.announced is None else warehouse.announced
            answer = {"success": True, "total_rows": total, "msg": rows[start : start + number]}
            self.reply(200, json.dumps(answer | {"num_rows": len(answer["msg"])}).encode())

        def reply(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = run_server(Handler)
    return WarehouseRemote(host=server.url.removeprefix("http://").rstrip("/"), page_rows=3, policy=PATIENT)


@pytest.fixture
def cache(remote, tmp_path) -> EcephysProjectCache:
    return EcephysProjectCache(tmp_path / "cache", remote=remote)


def test_tables(cache):
    sessions = cache.get_session_table(suppress=[])
    assert sessions["full_genotype"].tolist() == ["wt/wt", "Sst/wt"]  # the warehouse gives wild types none
    assert sessions["session_type"].tolist() == ["brain_observatory_1.1", "functional_connectivity"]
    assert sessions["has_nwb"].tolist() == [True, False]
    assert sessions["age_in_days"].tolist() == [118.0, 118.0]
    assert sessions["isi_experiment_id"].tolist() == [11, 12]
    probes = cache.get_probes()
    assert probes["has_lfp_data"].tolist() == [True, False]
    assert probes["lfp_sampling_rate"].tolist()[0] == 1250.0
    channels = cache.get_channels()
    assert channels["local_index"].tolist() == list(range(7))
    assert channels["local_index"].dtype == np.int64
    assert channels["left_right_ccf_coordinate"].isna().tolist() == [k == 3 for k in range(7)]
    assert channels["anterior_posterior_ccf_coordinate"].iloc[0] == 8000.5
    assert channels["ecephys_structure_acronym"].isna().tolist() == [k == 4 for k in range(7)]
    assert cache.get_units().index.tolist() == [1, 2, 4, 5, 6, 7]


def test_every_page_is_asked_for_once(cache, warehouse):
    cache.get_structure_acronyms()
    starts = [int(re.search(r"start_row\$eq(\d+)", query)[1]) for query in warehouse.queries]
    assert starts == [0, 3, 6]
    assert all("rma::options[tabular$eq'ecephys_channels.id," in query for query in warehouse.queries)
    assert all(query.endswith("[num_rows$eq3][order$eq'id']") for query in warehouse.queries)


def test_files_are_those_of_the_released_layout(cache):
    cache.get_units()
    header = (cache.root / "units.csv").read_text().splitlines()[0]
    assert header.startswith("id,ecephys_channel_id,")
    assert EcephysProjectCache.fixed(cache.root).get_units().index.tolist() == [1, 2, 4, 5, 6, 7]


def test_metrics(cache):
    metrics = cache.get_unit_analysis_metrics_by_session_type("brain_observatory_1.1", annotate=False)
    assert metrics.index.tolist() == [1, 2, 3]
    assert metrics["on_screen_rf"].tolist() == [False, True, True]  # exchanged with p_value_rf in the warehouse
    assert metrics["p_value_rf"].tolist() == [0.5, 0.5, 0.5]
    assert metrics["p_run_mod_dg"].tolist()[0] == 0.25
    assert cache.get_unit_analysis_metrics_for_session(1, annotate=False).index.tolist() == [1, 2, 3]


def test_files(cache, remote, warehouse):
    found = remote.locate("session_1/session_1.nwb")
    assert found.url == f"{remote.url}api/v2/well_known_file_download/900"
    assert "[attachable_type$eq'EcephysSession'][attachable_id$eq1]" in warehouse.queries[-1]
    assert remote.locate("session_1/probe_101_lfp.nwb").url.endswith("/901")
    assert remote.locate("natural_movie_templates/natural_movie_1.h5").url.endswith("/902")
    assert remote.locate("natural_scene_templates/natural_scene_10.tiff").url.endswith("/903")
    for key in ("session_2/session_2.nwb", "natural_movie_templates/natural_movie_2.h5", "README"):
        with pytest.raises(RemoteNotFoundError, match=re.escape(key)):
            remote.locate(key)
    with pytest.raises(UnknownIdError):
        cache.get_session_data(7)


def test_failures_that_pass_are_repeated(cache, warehouse):
    warehouse.fail = [503, 429, b"<html>", b'{"success": true, "msg"']
    assert cache.get_all_sexes() == ["F"]
    assert len(warehouse.queries) == 5


def test_warehouse_that_stays_down(cache, warehouse):
    warehouse.fail = [503] * 1000
    with pytest.raises(DownloadError, match="503"):
        cache.get_all_sexes()
    assert not (cache.root / "sessions.csv").exists()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b'{"success": false, "msg": "no such model"}', "no such model"),
        (b'{"success": true, "total_rows": 2, "msg": "text"}', "no rows"),
        (b"[]", "could not answer"),
    ],
)
def test_answers_that_are_none(cache, warehouse, answer, message):
    warehouse.fail = [answer]
    with pytest.raises(WarehouseError, match=message):
        cache.get_all_sexes()
    assert len(warehouse.queries) == 1


def test_pages_that_stop_early_do_not_loop(remote, warehouse):
    warehouse.announced = 99
    with pytest.raises(WarehouseError, match="7 of 99 rows"):
        remote.rows("model::EcephysUnit")


def test_no_rows(cache, warehouse):
    warehouse.announced = 0
    with pytest.raises(RemoteNotFoundError, match=r"sessions\.csv"):
        cache.get_all_sexes()


def test_metrics_that_cannot_be_read(remote, warehouse, monkeypatch):
    monkeypatch.setitem(METRICS[0], "data", "{no json")
    with pytest.raises(FileFormatError, match="cannot be read"):
        remote.locate("session_1/session_1_analysis_metrics.csv")


def test_columns_are_typed_as_a_whole():
    frame = typed(
        pd.DataFrame(
            {
                "whole": ["1", "2"],
                "number": ["1", "2.5"],
                "gaps": ["1.5", None],
                "null": ["null", "None"],
                "truth": ["true", "False"],
                "mixed": ["1", "x"],
                "code": ["__import__('os').system('true')", "1"],
                "json": [1.5, None],
            }
        )
    )
    assert frame["whole"].dtype == np.int64
    assert frame["number"].tolist() == [1.0, 2.5]
    assert frame["gaps"].isna().tolist() == [False, True]
    assert frame["null"].isna().all()
    assert frame["truth"].tolist() == [True, False]
    assert frame["mixed"].tolist() == ["1", "x"]
    assert frame["code"].tolist() == ["__import__('os').system('true')", "1"]  # text stays text
    assert frame["json"].dtype == np.float64


def test_silence_longer_than_the_timeout_is_a_failure_that_passes(remote, warehouse, tmp_path):
    silent = threading.Event()
    answer = warehouse.rows
    asked: list[str] = []

    def stall_once(query: str) -> list[dict]:
        asked.append(query)
        if len(asked) == 1:
            silent.wait(30)
        return answer(query)

    warehouse.rows = stall_once
    host = remote.url.removeprefix("http://").rstrip("/")
    assert EcephysProjectCache.from_warehouse(manifest=tmp_path, host=host, longest_silence=0.2).get_all_sexes() == [
        "F"
    ]
    assert len(asked) == 2
    silent.set()


def test_default_address():
    cache = EcephysProjectCache.from_warehouse()
    assert cache.remote.url == "http://api.brain-map.org/"
