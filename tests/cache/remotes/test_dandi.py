"""DANDI's asset listing as a remote, and the published facts that ship with the package."""

from __future__ import annotations

import csv
import hashlib
import json

import pytest

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cache.remotes.dandi import DandiRemote
from allen_ecephys.cache.remotes.protocol import RemoteFile
from allen_ecephys.cache.remotes.public_bucket import PublicBucket
from allen_ecephys.cache.remotes.registry import judged_by_release, released_files
from allen_ecephys.errors import ChecksumError, FileFormatError, RemoteNotFoundError, UnsafePathError

BLOB = "0a1b2c3d-0000-4000-8000-00000000000{}"


def asset(path: str, blob: str, size: int, **more: object) -> dict:
    return {"asset_id": "x", "blob": blob, "zarr": None, "path": path, "size": size, **more}


@pytest.fixture
def archive(tmp_path, replica):
    """A folder of blobs as the archive keeps them, and the listing of its assets."""
    content = (replica / "session_715093703.nwb").read_bytes()
    blobs = tmp_path / "blobs"
    (blobs / "0a1" / "b2c").mkdir(parents=True)
    (blobs / "0a1" / "b2c" / BLOB.format(1)).write_bytes(content)
    digest = {"dandi:sha2-256": hashlib.sha256(content).hexdigest(), "dandi:dandi-etag": "x"}
    rows = [
        asset("sub-1/sub-1_ses-715093703.nwb", BLOB.format(1), len(content), digest=digest),
        asset("sub-1/sub-1_ses-715093703_probe-810755797_ecephys.nwb", BLOB.format(2), 10),
        asset("dandiset.yaml", "", 3),
    ]
    listing = tmp_path / "assets.json"
    listing.write_text(json.dumps({"results": rows}))
    return blobs, listing


def test_listing_of_the_archive(shared_data):
    listing = shared_data / "registry" / "dandi_000021_assets.json"
    remote = DandiRemote(listing)
    assert len(remote.assets) == 214
    assert sum(key.split("/")[1].startswith("session_") for key in remote.assets) == 32
    file = remote.locate("session_715093703/probe_810755797_lfp.nwb")
    assert file.size == 2062950784
    assert file.url.endswith("/blobs/2a7/54b/2a754b28-ce3e-40d3-b871-1b4e9d165900")
    assert DandiRemote().assets == remote.assets  # the one that ships


def test_shipped_sizes_are_the_published_ones(shared_data):
    with (shared_data / "registry" / "session_nwb_sizes.csv").open() as lines:
        published = {row["ecephys_session_id"]: int(row["expected_bytes"]) for row in csv.DictReader(lines)}
    known = {key: file.size for key, file in released_files().items() if key.endswith(".nwb")}
    assert known == {f"session_{i}/session_{i}.nwb": size for i, size in published.items()}
    archive = {key: file.size for key, file in DandiRemote().assets.items() if "lfp" not in key}
    assert all(known[key] == size for key, size in archive.items())


def test_shipped_digests_are_those_of_the_released_tables(excerpt):
    for name in ("sessions.csv", "probes.csv"):
        content = (excerpt / name).read_bytes()
        known = released_files()[name]
        assert (known.size, known.digest) == (len(content), ("sha256", hashlib.sha256(content).hexdigest()))


def test_published_facts_overrule_a_server():
    page = RemoteFile("session_721123822/session_721123822.nwb", "https://x", 512, '"tag"', ("md5", "0" * 32))
    judged = judged_by_release(page)
    assert judged.size == 1736516600
    assert judged.digest[0] == "sha256"
    assert (judged.url, judged.etag) == ("https://x", '"tag"')
    other = RemoteFile("units.csv", "https://x", 512)
    assert judged_by_release(other) is other


def test_public_bucket_uses_them(monkeypatch):
    from allen_ecephys.cache.remotes.http import HttpRemote

    monkeypatch.setattr(HttpRemote, "locate", lambda _, key: RemoteFile(key, "https://x", 512))
    assert PublicBucket().locate("sessions.csv").size == 7849


def test_session_from_the_archive(archive, serve, tmp_path, project):
    blobs, listing = archive
    remote = DandiRemote(listing, tables=project, blobs=serve(blobs).url)
    cache = EcephysProjectCache(tmp_path / "cache", remote=remote)
    assert cache.get_all_sexes() == ["M", "F"]  # tables come from the other remote
    path = cache.files.path_of("session_nwb", 715093703, 715093703)
    assert path == tmp_path / "cache" / "session_715093703" / "session_715093703.nwb"
    with pytest.raises(RemoteNotFoundError, match="the dandiset has no"):
        remote.locate("session_1/session_1.nwb")
    with pytest.raises(UnsafePathError):
        remote.locate("../x")


def test_altered_blob_is_refused(archive, serve, tmp_path):
    blobs, listing = archive
    path = blobs / "0a1" / "b2c" / BLOB.format(1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    cache = EcephysProjectCache(tmp_path / "cache", remote=DandiRemote(listing, tables=None, blobs=serve(blobs).url))
    with pytest.raises(ChecksumError):
        cache.files.path_of("session_nwb", 715093703, 715093703)


def test_pages_of_a_listing(archive, serve, tmp_path):
    _, listing = archive
    rows = json.loads(listing.read_text())["results"]
    served = tmp_path / "served"
    served.mkdir()
    (served / "1.json").write_text(json.dumps({"next": "2.json", "results": rows[:1]}))
    (served / "2.json").write_text(json.dumps({"next": None, "results": rows[1:]}))
    assert len(DandiRemote(serve(served).url + "1.json").assets) == 2
    (served / "1.json").write_text(json.dumps({"next": "http://example.org/2.json", "results": rows[:1]}))
    with pytest.raises(FileFormatError, match="another host"):
        _ = DandiRemote(serve(served).url + "1.json").assets


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"results": 3}',
        '{"results": [3]}',
        '{"results": []}',
        json.dumps({"results": [asset("sub-1/sub-1_ses-1.nwb", "../../x", 3)]}),
        json.dumps({"results": [asset("sub-1/sub-1_ses-1.nwb", BLOB.format(1), -3)]}),
    ],
)
def test_no_listing(tmp_path, content):
    (tmp_path / "assets.json").write_text(content)
    with pytest.raises(FileFormatError):
        _ = DandiRemote(tmp_path / "assets.json").assets


def test_constructor(shared_data, tmp_path):
    listing = shared_data / "registry" / "dandi_000021_assets.json"
    cache = EcephysProjectCache.from_dandi(tmp_path / "cache", listing=listing, tables=tmp_path)
    assert cache.remote.url == "https://dandiarchive.s3.amazonaws.com/blobs/"
