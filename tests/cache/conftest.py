"""A loopback HTTP server that counts requests, and a small project with a known answer to every question."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class CountingServer(ThreadingHTTPServer):
    """A plain file server; `requests` holds (method, path) of each request."""

    daemon_threads = True

    def __init__(self, handler: Callable[..., SimpleHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def fetched(self, name: str) -> int:
        return sum(path.endswith(name) for method, path in self.requests if method == "GET")


class FileHandler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.requests.append(("GET", self.path))
        super().do_GET()

    def do_HEAD(self) -> None:
        self.server.requests.append(("HEAD", self.path))
        super().do_HEAD()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def run_server() -> Iterator[Callable[[Callable[..., SimpleHTTPRequestHandler]], CountingServer]]:
    """Start a server with a handler of the test's own."""
    with ExitStack() as stack:

        def run(handler: Callable[..., SimpleHTTPRequestHandler]) -> CountingServer:
            server = stack.enter_context(CountingServer(handler))
            thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(server.shutdown)
            return server

        yield run


@pytest.fixture
def serve(run_server) -> Callable[[Path], CountingServer]:
    """Serve a folder."""
    return lambda folder: run_server(functools.partial(FileHandler, directory=str(folder)))


SESSIONS = """\
id,date_of_acquisition,isi_experiment_id,published_at,specimen_id,session_type,age_in_days,sex,\
genotype,has_nwb
1,2019-01-01T00:00:00Z,11,2019-10-03T00:00:00Z,21,brain_observatory_1.1,118.0,M,wt/wt,True
2,2019-01-02T00:00:00Z,12,2019-10-03T00:00:00Z,22,functional_connectivity,100.5,F,Sst/wt,True
3,2019-01-03T00:00:00Z,13,2019-10-03T00:00:00Z,23,brain_observatory_1.1,118.0,F,wt/wt,False
"""
PROBES = """\
id,air_channel_index,ecephys_session_id,lfp_sampling_rate,lfp_temporal_subsampling_factor,name,\
phase,sampling_rate,surface_channel_index,has_lfp_data
101,380,1,2500.0,2.0,probeA,3a,30000.0,330,True
102,380,1,1000.0,,probeB,3a,30000.0,330,False
103,380,2,2500.0,2.0,probeA,PXI,30000.0,330,True
"""
# 1003 lies outside the brain; 1004 was not registered; 1009's probe does not exist
CHANNELS = """\
id,ecephys_probe_id,local_index,probe_horizontal_position,probe_vertical_position,\
anterior_posterior_ccf_coordinate,dorsal_ventral_ccf_coordinate,left_right_ccf_coordinate,\
ecephys_structure_id,ecephys_structure_acronym
1001,101,0,43,20,8000.0,3000.0,7000.0,385.0,VISp
1002,101,1,11,20,8001.0,3001.0,7001.0,409.0,VISl
1003,102,0,43,20,8002.0,3002.0,7002.0,,
1004,103,0,43,20,-1000.0,-1000.0,-1000.0,385.0,VISp
1009,999,0,43,20,8000.0,3000.0,7000.0,385.0,VISp
"""
# 1: every bound met exactly; 2, 3, 4: one bound missed each; 5: noise; 6: out of the brain; 7: a NaN; 8: its channel
# does not exist; 9: good
UNITS = """\
id,PT_ratio,amplitude,amplitude_cutoff,duration,ecephys_channel_id,epoch_name_quality_metrics,\
isi_violations,l_ratio,presence_ratio,quality,snr
1,0.5,100.0,0.1,0.2,1001,complete,0.5,0.01,0.95,good,3.0
2,0.5,100.0,0.11,0.2,1001,complete,0.5,0.01,0.95,good,3.0
3,0.5,100.0,0.1,0.2,1002,complete,0.51,0.01,0.95,good,3.0
4,0.5,100.0,0.1,0.2,1002,complete,0.5,0.01,0.94,good,3.0
5,0.5,100.0,0.0,0.2,1001,complete,0.0,0.01,0.99,noise,3.0
6,0.5,100.0,0.0,0.2,1003,complete,0.0,0.01,0.99,good,3.0
7,0.5,100.0,,0.2,1004,complete,0.0,0.01,0.99,good,3.0
8,0.5,100.0,0.0,0.2,1008,complete,0.0,0.01,0.99,good,3.0
9,0.5,100.0,0.0,0.2,1004,complete,0.0,0.01,0.99,good,
"""
TYPE_METRICS = {
    "brain_observatory_1.1": "ecephys_unit_id,fano_dg,fano_ns,run_pval_dg,on_screen_rf,p_value_rf,pref_ori_multi_sg\n"
    "1,1.0,2.0,0.5,True,0.01,True\n2,1.5,2.5,0.25,False,0.02,False\n",
    # exchanged, as in some published tables
    "functional_connectivity": "ecephys_unit_id,fano_dg,run_pval_dm,on_screen_rf,p_value_rf\n9,3.0,0.125,0.03,True\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder laid out as the release, with three sessions and nine units."""
    folder = tmp_path / "project"
    (folder / "session_1").mkdir(parents=True)
    for name, text in (("sessions", SESSIONS), ("probes", PROBES), ("channels", CHANNELS), ("units", UNITS)):
        (folder / f"{name}.csv").write_text(text)
    for kind, text in TYPE_METRICS.items():
        (folder / f"{kind}_analysis_metrics.csv").write_text(text)
    text = TYPE_METRICS["brain_observatory_1.1"]
    (folder / "session_1" / "session_1_analysis_metrics.csv").write_text(text)
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no socket connect."""
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def manifest_text(*entries: dict[str, str], version: object = "0.3.0") -> str:
    return json.dumps({"manifest": [{"type": "manifest_version", "value": version}, *entries]})
