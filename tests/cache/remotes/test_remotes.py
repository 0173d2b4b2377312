"""One contract for every kind of remote, and what only HTTP and only S3 have."""

from __future__ import annotations

import hashlib
import pickle
from http.server import BaseHTTPRequestHandler

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from allen_ecephys.cache import EcephysProjectCache
from allen_ecephys.cache.remotes.fsspec import FolderRemote, FsspecRemote
from allen_ecephys.cache.remotes.http import HttpRemote
from allen_ecephys.cache.remotes.opening import remote_at
from allen_ecephys.cache.remotes.protocol import (
    PUBLIC_URL,
    Remote,
    RemoteStatusError,
    UnreachableError,
    safe_key,
    without_credentials,
)
from allen_ecephys.cache.remotes.public_bucket import PublicBucket
from allen_ecephys.errors import (
    AccessError,
    AllenEcephysError,
    DownloadError,
    InvalidValueError,
    OfflineError,
    RemoteNotFoundError,
    UnknownNameError,
    UnsafePathError,
)

KEY = "session_1/session_1.nwb"
CONTENT = bytes(range(256)) * 40_000  # more than one request of an object store


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "remote"
    (path / "session_1").mkdir(parents=True)
    (path / KEY).write_bytes(CONTENT)
    (path / "sessions.csv").write_text("id\n")
    (path / ".hidden").write_text("")
    return path


@pytest.fixture(scope="module")
def s3_server():
    """A real server that speaks S3, on loopback."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """An empty bucket, and a client that fills it."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3", endpoint_url=s3_server)
    client.create_bucket(Bucket="release", ACL="public-read")
    yield client
    for entry in client.list_objects_v2(Bucket="release").get("Contents", []):
        client.delete_object(Bucket="release", Key=entry["Key"])
    client.delete_bucket(Bucket="release")
    client.close()


@pytest.fixture
def s3_remote(bucket, s3_server):
    bucket.put_object(Bucket="release", Key=f"cache/{KEY}", ACL="public-read", Body=CONTENT)
    bucket.put_object(Bucket="release", Key="cache/sessions.csv", ACL="public-read", Body=b"id\n")
    return FsspecRemote("s3://release/cache", storage_options={"endpoint_url": s3_server, "skip_instance_cache": True})


@pytest.fixture(params=["folder", "http", "fsspec", "s3"])
def remote(request, folder, serve) -> Remote:
    if request.param == "folder":
        return FolderRemote(folder)
    if request.param == "http":
        return HttpRemote(serve(folder).url)
    if request.param == "fsspec":
        return FsspecRemote(f"file://{folder}")
    return request.getfixturevalue("s3_remote")


def body(remote, *limits):
    with remote.open_range(remote.locate(KEY), *limits) as answer:
        return answer, b"".join(answer)


# --- the contract ------------------------------------------------------------------------------------------------


def test_locate(remote):
    found = remote.locate(KEY)
    assert found.key == KEY
    assert found.size == len(CONTENT)
    if found.digest is not None:
        assert found.digest == ("md5", hashlib.md5(CONTENT).hexdigest())
    assert isinstance(remote, Remote)


def test_whole_file(remote):
    answer, content = body(remote)
    assert content == CONTENT
    assert (answer.status, answer.start, answer.total) == (200, 0, len(CONTENT))


@pytest.mark.parametrize("limits", [(0, 10), (5, 6), (9_000_000, None), (8_388_600, 8_388_620)])
def test_range(remote, limits):
    answer, content = body(remote, *limits)
    whole = answer.status == 200  # a plain server may ignore the range, but must then say so
    assert content == (CONTENT if whole else CONTENT[slice(*limits)])
    assert answer.start == (0 if whole else limits[0])
    assert answer.total == len(CONTENT)


def test_absent_file(remote):
    with pytest.raises(RemoteNotFoundError, match="session_2"):
        remote.locate("session_2/session_2.nwb")
    with pytest.raises(RemoteNotFoundError):
        remote.locate("session_1")  # a folder


@pytest.mark.parametrize("key", ["../secret", "/etc/passwd", "a/../../b", "a\x00b", "C:/x", ""])
def test_unsafe_key(remote, key):
    with pytest.raises(UnsafePathError):
        remote.locate(key)


def test_pickled(remote):
    assert body(pickle.loads(pickle.dumps(remote)), 0, 10)[1][:10] == CONTENT[:10]


def test_through_a_cache(remote, tmp_path):
    cache = EcephysProjectCache(tmp_path / "cache", remote=remote)
    assert cache.files.path_of("sessions").read_bytes() == b"id\n"
    assert remote.url in repr(cache)


def test_changed_file_is_answered_whole(remote):
    found = remote.locate(KEY)
    if found.etag is None:
        pytest.skip("a plain server states no version")
    with remote.open_range(found, 10, None, if_range='"another"') as answer:
        assert answer.status == 200
        assert b"".join(answer) == CONTENT
    with remote.open_range(found, 10, None, if_range=found.etag) as answer:
        assert answer.status == 206
        assert b"".join(answer) == CONTENT[10:]


# --- S3 ------------------------------------------------------------------------------------------------------------


def test_s3_object_replaced_while_it_is_read(s3_remote, bucket):
    with s3_remote.open_range(s3_remote.locate(KEY)) as answer:
        chunks = iter(answer)
        next(chunks)
        bucket.put_object(Bucket="release", Key=f"cache/{KEY}", ACL="public-read", Body=CONTENT[::-1])
        with pytest.raises(DownloadError):
            next(chunks)


def test_private_object(bucket, s3_server):
    bucket.create_bucket(Bucket="laboratory")
    bucket.put_object(Bucket="laboratory", Key="cache/private.csv", Body=b"id\n")
    options = {"endpoint_url": s3_server, "skip_instance_cache": True}
    with pytest.raises(AccessError, match="storage_options"):
        FsspecRemote("s3://laboratory/cache", storage_options=options).locate("private.csv")
    options |= {"key": "testing", "secret": "testing"}
    assert FsspecRemote("s3://laboratory/cache", storage_options=options).locate("private.csv").size == 3


def test_s3_is_asked_anew(s3_remote, bucket):
    s3_remote.locate("sessions.csv")
    bucket.put_object(Bucket="release", Key="cache/sessions.csv", ACL="public-read", Body=b"id\n1\n")
    assert s3_remote.locate("sessions.csv").size == 5


def test_s3_project(bucket, s3_server, project, tmp_path):
    for path in project.rglob("*.csv"):
        bucket.put_object(
            Bucket="release", Key=path.relative_to(project).as_posix(), ACL="public-read", Body=path.read_bytes()
        )
    options = {"endpoint_url": s3_server, "skip_instance_cache": True}
    cache = EcephysProjectCache.from_url("s3://release", tmp_path / "cache", storage_options=options)
    assert cache.get_units().index.tolist() == [1, 6, 9]


# --- HTTP ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def answering(run_server):
    """Serve the same status and headers to everything."""

    def run(status, headers=(), content=b"", methods=("GET", "HEAD")):
        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                self.server.requests.append((self.command, self.path))
                self.send_response(status if self.command in methods else 405)
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            do_GET = do_HEAD = answer  # noqa: N815 - the standard library's names

            def log_message(self, *_):
                pass

        return run_server(Handler)

    return run


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, RemoteNotFoundError), (410, RemoteNotFoundError), (403, AccessError), (401, AccessError)],
)
def test_final_statuses(answering, status, error):
    server = answering(status)
    with pytest.raises(error, match=str(status)):
        HttpRemote(server.url).locate(KEY)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "transient"), [(416, False), (400, False), (429, True), (500, True), (503, True), (408, True)]
)
def test_other_statuses(answering, status, transient):
    server = answering(status, {"Retry-After": "7"})
    with pytest.raises(RemoteStatusError) as caught:
        HttpRemote(server.url).locate(KEY)
    assert (caught.value.status, caught.value.transient, caught.value.retry_after) == (status, transient, "7")


def test_server_without_head(answering):
    server = answering(200, content=b"0123456789", methods=("GET",))
    assert HttpRemote(server.url).locate(KEY).size == 10


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/x",
        "http://localhost:1/x",
        "https://example.org/x",
        "//example.org/x",
    ],
)
def test_redirect_elsewhere_is_refused(answering, target):
    server = answering(302, {"Location": target})
    with pytest.raises(AccessError, match="refused"):
        HttpRemote(server.url).locate(KEY)
    assert len(server.requests) == 1


def test_redirect_from_https_to_http_is_refused():
    from allen_ecephys.cache.remotes.http import _check_redirect

    with pytest.raises(AccessError, match="not encrypted"):
        _check_redirect("https://api.brain-map.org/x", "http://api.brain-map.org/x")
    _check_redirect("http://api.brain-map.org/x", "https://allen-brain-observatory.s3.amazonaws.com/x")


def test_redirect_loop(answering):
    server = answering(302, {"Location": "/again"})
    with pytest.raises(AccessError, match="more than 5"):
        HttpRemote(server.url).locate(KEY)
    assert len(server.requests) == 6


def test_encoded_body_is_refused(answering):
    server = answering(200, {"Content-Encoding": "gzip"}, b"abc")
    remote = HttpRemote(server.url)
    with pytest.raises(DownloadError, match="gzip"):
        remote.open_range(remote.locate(KEY))


def test_md5_of_an_s3_server(answering):
    tag = hashlib.md5(b"abc").hexdigest()
    s3 = {"Server": "AmazonS3", "ETag": f'"{tag}"'}
    assert HttpRemote(answering(200, s3).url).locate(KEY).digest is None  # the server's own name came first
    s3 = {"x-amz-request-id": "1", "ETag": f'"{tag}"'}
    assert HttpRemote(answering(200, s3).url).locate(KEY).digest == ("md5", tag)
    multipart = {"x-amz-request-id": "1", "ETag": f'"{tag}-3"'}
    assert HttpRemote(answering(200, multipart).url).locate(KEY).digest is None
    kms = {**s3, "x-amz-server-side-encryption": "aws:kms"}
    assert HttpRemote(answering(200, kms).url).locate(KEY).digest is None


def test_no_server():
    with pytest.raises(UnreachableError, match="cannot be reached"):
        HttpRemote("http://127.0.0.1:9/").locate(KEY)


def test_no_such_host():
    with pytest.raises(UnreachableError, match="cannot be reached"):
        HttpRemote("http://no-such-host.invalid/").locate(KEY)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "s3://release/cache"])
def test_offline_setting(monkeypatch, no_network, url):
    monkeypatch.setenv("ALLEN_ECEPHYS_OFFLINE", "1")
    with pytest.raises(OfflineError, match="ALLEN_ECEPHYS_OFFLINE"):
        remote_at(url).locate(KEY)


def test_folder_works_offline(monkeypatch, no_network, folder):
    monkeypatch.setenv("ALLEN_ECEPHYS_OFFLINE", "1")
    assert remote_at(folder).locate(KEY).size == len(CONTENT)


def test_credentials_stay_out_of_messages(caplog):
    remote = HttpRemote("http://user:secret@127.0.0.1:9/x?token=hidden")
    with pytest.raises(UnreachableError) as caught:
        remote.locate(KEY)
    for text in (str(caught.value), repr(remote), remote.url, caplog.text):
        assert "secret" not in text
        assert "hidden" not in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@host:1/a/b?x=1#y", "https://host:1/a/b"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("/data/cache", "/data/cache"),
    ],
)
def test_without_credentials(url, shown):
    assert without_credentials(url) == shown


def test_kinds_of_address(tmp_path):
    assert isinstance(remote_at("https://example.org"), HttpRemote)
    assert isinstance(remote_at(tmp_path), FolderRemote)
    assert isinstance(remote_at(f"file://{tmp_path}"), FolderRemote)
    assert isinstance(remote_at("s3://bucket"), FsspecRemote)
    with pytest.raises(UnknownNameError, match="no address that fsspec knows"):
        remote_at("nosuch://x").locate(KEY)
    remote = remote_at(tmp_path)
    assert remote_at(remote) is remote


PLACE = "visual-coding-neuropixels/ecephys-cache"


@pytest.mark.parametrize(
    "url",
    [
        PUBLIC_URL,
        PUBLIC_URL.rstrip("/"),
        PUBLIC_URL.replace("https", "HTTPS").replace("allen-brain", "Allen-Brain"),
        f"http://allen-brain-observatory.s3.amazonaws.com//{PLACE}/",
        f"https://allen-brain-observatory.s3-us-west-2.amazonaws.com:443/{PLACE}",
        f"https://allen-brain-observatory.s3.dualstack.us-west-2.amazonaws.com/{PLACE}",
        f"https://s3.us-west-2.amazonaws.com/allen-brain-observatory/{PLACE}/",
        f"https://s3.amazonaws.com/allen-brain-observatory/{PLACE}",
        f"s3://allen-brain-observatory/{PLACE}",
    ],
)
def test_the_public_bucket_is_known_however_it_is_spelled(url, tmp_path):
    cache = EcephysProjectCache.from_url(url, manifest=tmp_path)
    assert isinstance(cache.remote, PublicBucket)
    assert cache.remote.url == PUBLIC_URL


@pytest.mark.parametrize(
    "url",
    [
        f"https://allen-brain-observatory.s3.us-west-2.amazonaws.com.evil.org/{PLACE}",
        f"https://other.s3.us-west-2.amazonaws.com/{PLACE}",
        f"https://allen-brain-observatory.s3.us-west-2.amazonaws.com/{PLACE}/sub",
        f"https://allen-brain-observatory.s3.us-west-2.amazonaws.com:8000/{PLACE}",
        f"https://user:secret@allen-brain-observatory.s3.us-west-2.amazonaws.com/{PLACE}",
        "https://allen-brain-observatory.s3.us-west-2.amazonaws.com:x/",
    ],
)
def test_another_server_is_not_taken_for_the_public_bucket(url):
    assert not isinstance(remote_at(url), PublicBucket)


def test_the_public_bucket_through_a_server_of_ones_own_is_not_judged_by_the_release():
    options = {"endpoint_url": "http://127.0.0.1:1"}
    assert isinstance(remote_at(f"s3://allen-brain-observatory/{PLACE}", storage_options=options), FsspecRemote)


@given(st.text(max_size=40))
@example("..")
@example("x/../../y")
@example("con.txt")
@example("a/" + "b" * 300)
def test_a_safe_key_stays_inside(tmp_path_factory, key):
    root = tmp_path_factory.getbasetemp() / "root"
    try:
        safe = safe_key(key)
    except UnsafePathError:
        return
    assert (root / safe).resolve().is_relative_to(root.resolve())
    assert (root / safe).resolve() != root.resolve()


@pytest.mark.parametrize("url", ["http://[::1/x", "https://[::1", "s3://[/x"])
def test_what_is_no_address_is_said_at_once(url):
    with pytest.raises(InvalidValueError, match="is no address"):
        remote_at(url)


def test_an_archive_that_is_not_there_is_a_named_error(tmp_path):
    for place in (tmp_path, tmp_path / "gone.zip"):
        with pytest.raises(AllenEcephysError):
            FsspecRemote(f"zip://x::{place}").locate("sessions.csv")


def test_s3_is_not_waited_for_longer_than_other_servers():
    options = FsspecRemote("s3://bucket", storage_options={"config_kwargs": {"read_timeout": 5}})._options
    assert {name: options["config_kwargs"][name] for name in ("connect_timeout", "read_timeout")} == {
        "connect_timeout": 10,
        "read_timeout": 5,
    }
    assert "retries" in options["config_kwargs"]
