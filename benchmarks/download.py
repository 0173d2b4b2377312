"""Downloading one file, side by side: this package, AllenSDK's engine, pooch and a plain requests loop.

    python benchmarks/download.py [--megabytes 500] [--latency-ms 50] [--connection-mbps 20] [--allensdk-python PYTHON]

A loopback server delays each answer and limits each connection, as public servers do. Every engine runs in a process
of its own, one after the other, and its file is compared with the original afterwards. Seconds include the start of
the interpreter (about the same for all).
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))

from faulty_server import FaultyServer

NAME = "session.bin"

OURS = """
import sys
from pathlib import Path
from allen_ecephys.cache.transfer.fetch import fetch
from allen_ecephys.cache.remotes.http import HttpRemote
fetch(HttpRemote(sys.argv[1]), "session.bin", Path(sys.argv[2]))
"""
REQUESTS = """
import sys, requests
with requests.get(sys.argv[1] + "session.bin", stream=True) as answer, open(sys.argv[2], "wb") as sink:
    for piece in answer.iter_content(1 << 20):
        sink.write(piece)
"""
POOCH = """
import pathlib, sys, pooch
target = pathlib.Path(sys.argv[2])
pooch.retrieve(sys.argv[1] + "session.bin", "sha256:" + sys.argv[3], fname=target.name, path=target.parent)
"""
# Both engines of AllenSDK, called as its warehouse cache calls them.
ALLENSDK = """
import sys
from allensdk.brain_observatory.ecephys.ecephys_project_api import http_engine
scheme, host = sys.argv[1].rstrip("/").split("://")
if sys.argv[4] == "asynchronous":
    engine = http_engine.AsyncHttpEngine(scheme, host)
else:
    engine = http_engine.HttpEngine(scheme, host)
engine.write_bytes(sys.argv[2], engine.stream("session.bin"))
"""


def seconds(python: str, code: str, url: str, target: Path, *more: str) -> float:
    began = time.perf_counter()
    subprocess.run([python, "-c", code, url, str(target), *more], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--connection-mbps", type=float, default=20.0, help="megabytes a second of one connection")
    parser.add_argument("--allensdk-python", help="an interpreter with AllenSDK")
    arguments = parser.parse_args()
    size = arguments.megabytes * 1_000_000
    with tempfile.TemporaryDirectory() as name, FaultyServer() as server:
        folder = Path(name)
        source = folder / NAME
        with source.open("wb") as sink:
            for _ in range(arguments.megabytes):
                sink.write(hashlib.shake_128(sink.tell().to_bytes(8, "little")).digest(1_000_000))
        with source.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        server.serve(NAME, source)
        server.latency_s = arguments.latency_ms / 1000
        server.bytes_per_s = arguments.connection_mbps * 1e6
        engines = [
            ("this package", sys.executable, OURS, ()),
            ("requests loop", sys.executable, REQUESTS, ()),
            ("pooch", sys.executable, POOCH, (digest,)),
        ]
        if arguments.allensdk_python:
            for kind in ("synchronous", "asynchronous"):
                engines.append((f"AllenSDK, {kind}", arguments.allensdk_python, ALLENSDK, (digest, kind)))
        print(
            f"{size / 1e6:.0f} MB, {arguments.latency_ms:g} ms before each answer, "
            f"{arguments.connection_mbps:g} MB/s for each connection"
        )
        ours = 0.0
        for label, python, code, more in engines:
            target = folder / label.replace(" ", "-").replace(",", "") / NAME
            target.parent.mkdir()
            try:
                took = seconds(python, code, server.url, target, *more)
            except subprocess.CalledProcessError as error:
                print(f"{label:24s} fails: {error.stderr.decode().strip().splitlines()[-1]}", flush=True)
                continue
            with target.open("rb") as stream:
                right = hashlib.file_digest(stream, "sha256").hexdigest() == digest
            ours = ours or took
            print(
                f"{label:24s} {took:7.1f} s  {size / 1e6 / took:7.1f} MB/s  {took / ours:5.1f} x ours"
                f"{'' if right else '   WRONG BYTES'}",
                flush=True,
            )
            target.unlink()


if __name__ == "__main__":
    main()
