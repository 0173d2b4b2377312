"""Rows S1 to S8: nothing leaves the cache folder, no server is trusted with more than bytes."""

from __future__ import annotations

import ast
import datetime
import io
import ipaddress
import json
import logging
from pathlib import Path

import faulty_server as fs
import h5py
import numpy as np
import pytest
from faulty_server import FaultyServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_project import serve_folder, write_project

from allen_ecephys.cache import manifest as manifests
from allen_ecephys.cache.offline.export import export
from allen_ecephys.cache.offline.plan import Selection
from allen_ecephys.cache.project_cache import EcephysProjectCache
from allen_ecephys.cache.remotes.http import HttpRemote
from allen_ecephys.cache.remotes.protocol import RemoteFile, safe_key
from allen_ecephys.cache.retrying.rules import TransferPolicy
from allen_ecephys.cache.templates import read_movie
from allen_ecephys.cache.transfer.fetch import fetch
from allen_ecephys.cache.transfer.streaming import open_stream
from allen_ecephys.errors import AccessError, AllenEcephysError, FileFormatError, ManifestError
from allen_ecephys.nwb.reader import NwbReader

HOSTILE = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "//host/x",
    "C:\\x",
    "C:/x",
    "a\\..\\..\\x",
    "a\x00b",
    "CON",
    "a/nul.nwb",
    "x" * 300,
    ".",
    "..",
    "a//b",
    "a/./b",
    "",
    "a/",
    "a\n",
    "a ",
    "a.",
]


@pytest.mark.parametrize("key", HOSTILE)
def test_S1_hostile_keys_are_refused_before_anything_is_touched(server: FaultyServer, tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="refused"):
        HttpRemote(server.url).locate(key)
    with pytest.raises(ValueError, match="refused"):
        open_stream(HttpRemote(server.url), key, tmp_path)
    assert server.log == []
    assert list(tmp_path.iterdir()) == []


@given(st.text(min_size=1, max_size=60))
@settings(max_examples=300, deadline=None)
def test_S1_no_key_leaves_the_folder(key: str) -> None:
    root = Path("/cache/data")
    try:
        path = root / safe_key(key)
    except ValueError:
        return
    assert Path(*path.parts).resolve().is_relative_to(root)
    assert path != root
    assert not str(path).startswith("/cache/data_")


@pytest.mark.parametrize("key", [key for key in HOSTILE if key not in {".", ""}])
def test_S1_hostile_manifests_are_refused(tmp_path: Path, key: str) -> None:
    content = json.loads(manifests.content_of_standard())
    for row in content["manifest"]:
        if row.get("key") == "units":
            row["spec"] = key
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ManifestError):
        EcephysProjectCache.fixed(tmp_path)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_S1_manifest_of_any_bytes_is_named_not_crashed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ManifestError):
        manifests.read(tmp_path / "manifest.json")


@pytest.mark.parametrize("session_id", ["../../101", 1.5, "101/../..", None, True])
def test_S1_hostile_ids(tmp_path: Path, session_id: object) -> None:
    cache = EcephysProjectCache.fixed(write_project(tmp_path))
    with pytest.raises((AllenEcephysError, ValueError)):
        cache.session_path(session_id)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://127.0.0.2:{port}/x.bin",
        "http://10.0.0.1/x.bin",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:{port}/x.bin",
        "//evil.example/x.bin",
        "http://[::1]/x.bin",
    ],
)
def test_S2_redirects_elsewhere_are_refused(server: FaultyServer, tmp_path: Path, target: str) -> None:
    port = server.server_address[1]
    server.serve("x.bin", b"x" * 100, fs.redirect(target.format(port=port)))
    file = RemoteFile("x.bin", server.url + "x.bin", 100)
    with pytest.raises(AccessError, match="redirects to"):
        fetch(HttpRemote(server.url), "x.bin", tmp_path / "x.bin", expected=file)
    assert len(server.gets()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    pytest.importorskip("cryptography", reason="needs cryptography to make a certificate (extra test)")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form) + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_S3_bad_certificate_is_refused_and_not_retried(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyServer({"x.bin": b"x" * 100}, certificate=certificate) as server:
        slept: list[float] = []
        policy = TransferPolicy(sleep=slept.append)
        with pytest.raises(AccessError, match="REQUESTS_CA_BUNDLE"):
            fetch(HttpRemote(server.url), "x.bin", tmp_path / "x.bin", policy=policy)
        assert slept == []
        assert server.log == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        path = fetch(HttpRemote(server.url), "x.bin", tmp_path / "x.bin", policy=policy)
    assert path.read_bytes() == b"x" * 100


class Bomb:
    """Leaves a trace if it is ever unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("exploded"),))


def test_S4_pickled_arrays_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    (tmp_path / "natural_movie_1.h5").write_bytes(buffer.getvalue())
    with pytest.raises(FileFormatError):
        read_movie(tmp_path / "natural_movie_1.h5")
    assert not (tmp_path / "exploded").exists()


def test_S4_no_pickle_in_the_sources() -> None:
    root = Path(__file__).parents[2]
    for room in ("allen_ecephys", "cache"):
        for path in (root / room).rglob("*.py"):
            text = path.read_text()
            assert "pickle.load" not in text, path
            options = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.keyword)]
            allowed = [node for node in options if node.arg == "allow_pickle" and ast.unparse(node.value) != "False"]
            assert not allowed, path


def nwb_with(path: Path, **links: object) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.2.2"
        for name, link in links.items():
            file[name] = link
    return path


def test_S5_links_out_of_the_file_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["data"] = np.arange(3)
    path = nwb_with(tmp_path / "linked.nwb", stolen=h5py.ExternalLink(str(secret), "data"))
    with NwbReader(path) as reader, pytest.raises(FileFormatError, match=r"secret\.h5.*refused"):
        reader.array("stolen")


def test_S5_bytes_of_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_bytes(b"root:x:0:0" * 10)
    path = nwb_with(tmp_path / "external.nwb")
    with h5py.File(path, "a") as file:
        file.create_dataset("stolen", (100,), dtype="u1", external=[(str(tmp_path / "passwd"), 0, 100)])
    with NwbReader(path) as reader, pytest.raises(FileFormatError, match=r"passwd.*refused"):
        reader.array("stolen")


def test_S6_huge_dataset_in_a_small_file_is_opened_lazily(tmp_path: Path) -> None:
    path = nwb_with(tmp_path / "bomb.nwb")
    with h5py.File(path, "a") as file:
        file.create_dataset("huge", (10**12,), dtype="f8", chunks=(10**6,), compression="gzip")
    assert path.stat().st_size < 200_000
    with NwbReader(path) as reader:
        assert reader.dataset("huge").shape == (10**12,)
        np.testing.assert_array_equal(reader.array("huge", slice(5, 8)), [0, 0, 0])


def test_S8_credentials_are_never_said(server: FaultyServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.serve("x.bin", b"x" * 100, fs.cut(10), fs.status(503))
    address = server.url.replace("http://", "http://user:hunter2@")
    remote = HttpRemote(address)
    policy = TransferPolicy(sleep=lambda seconds: None)
    with caplog.at_level(logging.DEBUG, logger="allen_ecephys"), pytest.raises(AllenEcephysError) as caught:
        fetch(remote, "x.bin", tmp_path / "x.bin", policy=policy)
    kept = "".join(path.read_text(errors="replace") for path in tmp_path.iterdir() if path.is_file())
    assert kept
    for text in (str(caught.value), repr(caught.value.__cause__), caplog.text, kept, repr(remote)):
        assert "hunter2" not in text


def test_S8_export_holds_no_address(server: FaultyServer, tmp_path: Path) -> None:
    serve_folder(server, write_project(tmp_path / "source"))
    cache = EcephysProjectCache.from_url(server.url, manifest=tmp_path / "cache")
    cache.session_path(101)
    cache.get_units()
    export(cache, tmp_path / "copy", Selection(session_ids=[101], metrics=False))
    for path in (tmp_path / "copy").rglob("*"):
        if path.is_file() and path.suffix in {".json", ".csv"}:
            assert "127.0.0.1" not in path.read_text()
