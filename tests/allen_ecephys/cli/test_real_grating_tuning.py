"""Real spikes through every room: fetched over HTTP, aligned, and compared with the numbers that were published."""

from __future__ import annotations

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from allen_ecephys import EcephysProjectCache, UnitFilter
from allen_ecephys.cli.demo_analysis import grating_tuning


def test_v1_units_have_their_published_tuning(excerpt: Path, tmp_path: Path) -> None:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(excerpt))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        cache = EcephysProjectCache.from_url(url, manifest=tmp_path / "manifest.json")
        assert len(cache.get_units()) == 16_129
        session = cache.get_session_data(732592105)
        published = cache.get_unit_analysis_metrics(unit_filter=UnitFilter.none(), leave_out_broken=True)
        server.shutdown()
    computed = grating_tuning(session).preferred.dropna()
    published = published.loc[computed.index]
    assert len(computed) == 110
    assert (computed["pref_ori"] == published["pref_ori_dg"]).all()
    assert (computed["pref_tf"] == published["pref_tf_dg"]).all()
    assert np.median(np.abs(computed["g_osi"] - published["g_osi_dg"])) < 1e-6
