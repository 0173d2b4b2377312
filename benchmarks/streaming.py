"""What the first calls on a streamed session cost: requests, bytes and seconds, beside other ways to read a URL.

    python benchmarks/streaming.py [--units 2779] [--scale 0.1] [--latency-ms 50]

A simulated session in the released layout (by default with all 2,779 units of a large session; spikes of a shortened
recording) is served on loopback with a delay before each answer. Every way of reading hands the same reader a binary
file: first ``units``, then the spike times of 50 units. remfile is compared where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))

from faulty_server import FaultyServer

from allen_ecephys import EcephysSession, UnitFilter
from allen_ecephys.cache.remotes.http import HttpRemote
from allen_ecephys.cache.transfer.streaming import open_stream
from allen_ecephys.processing.simulation import write_session

KEY = "session.nwb"


def opened_by_fsspec(url: str, **options: Any) -> Any:
    import fsspec

    return fsspec.open(url, "rb", **options).open()


def opened_by_remfile(url: str) -> Any:
    import remfile

    return remfile.File(url)


def measured(name: str, server: FaultyServer, source: Callable[[], Any]) -> None:
    server.log.clear()
    began = time.perf_counter()
    session = EcephysSession(source(), unit_filter=UnitFilter.none())
    units = session.units
    row = f"{name:34s} units: {cost(server)} {time.perf_counter() - began:6.2f} s"
    server.log.clear()
    began = time.perf_counter()
    wanted = units.index[:: max(1, len(units) // 50)][:50]
    session.spike_times.ragged(wanted)
    print(f"{row}   spikes of {len(wanted)} units: {cost(server)} {time.perf_counter() - began:6.2f} s", flush=True)
    session.close()


def cost(server: FaultyServer) -> str:
    return f"{len(server.log):4d} requests {sum(request.sent for request in server.log) / 1e6:8.1f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--units", type=int, default=2779)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, FaultyServer() as server:
        folder = Path(name)
        write_session(folder / KEY, scale=arguments.scale, n_units=arguments.units)
        server.serve(KEY, folder / KEY)
        server.latency_s = arguments.latency_ms / 1000
        url = server.url + KEY
        print(f"{(folder / KEY).stat().st_size / 1e9:.2f} GB, {arguments.latency_ms:g} ms before each answer")
        cache = folder / "cache"
        measured("this package, first time", server, lambda: open_stream(HttpRemote(server.url), KEY, cache))
        measured("this package, second time", server, lambda: open_stream(HttpRemote(server.url), KEY, cache))
        measured("this package, from_nwb_path(URL)", server, lambda: url)
        block = {"cache_type": "blockcache", "block_size": 1 << 20}
        measured("fsspec, blockcache of 1 MiB", server, lambda: opened_by_fsspec(url, **block))
        if importlib.util.find_spec("remfile"):
            measured("remfile", server, lambda: opened_by_remfile(url))
        measured("fsspec as it comes", server, lambda: opened_by_fsspec(url))


if __name__ == "__main__":
    main()
