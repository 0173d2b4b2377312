"""Pickles of stimulus computers are read; whatever asks for more is refused by name, and nothing of it runs."""

from __future__ import annotations

import collections
import datetime
import functools
import os
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allen_ecephys.errors import FileFormatError, MissingDataError, MissingFileError, UnsafePickleError
from allen_ecephys.processing.simulation.rig.camstim import write_python2_pickle
from allen_ecephys.processing.stimulus_table import open_stimulus_pickle, read_restricted_pickle

CONTENTS = {
    "fps": 60.0,
    "pre_blank_sec": np.float64(2.0),
    "stimuli": [collections.OrderedDict([("dimnames", ["Ori"]), ("sweep_table", [(np.float32(45.0),)])])],
    "startdatetime": datetime.datetime(2019, 1, 19, 8, 54, 18),
    "intervalsms": np.full(9, 16.7),
    "items": {"foraging": {"encoders": [{"dx": np.arange(10.0)}]}},
    "mixed": np.array(["a", None, 3], dtype=object),
    "long": "x" * 300,
}


def test_pickle_of_python_2(tmp_path: Path) -> None:
    path = tmp_path / "stimulus.pkl"
    write_python2_pickle(path, CONTENTS)
    asked = {argument for opcode, argument, _ in pickletools.genops(path.read_bytes()) if opcode.name == "GLOBAL"}
    assert asked == {
        "collections OrderedDict", "numpy.core.multiarray _reconstruct", "numpy.core.multiarray scalar",
        "numpy ndarray", "numpy dtype", "datetime datetime",
    }  # fmt: skip
    found = open_stimulus_pickle(path)
    assert found.frames_per_second == 60
    assert found.pre_blank_seconds == 2
    assert found.n_frames == 10
    assert found.stimuli[0]["sweep_table"] == [(45.0,)]
    assert found.contents["startdatetime"] == CONTENTS["startdatetime"]
    assert found.contents["mixed"].tolist() == ["a", None, 3]
    dx = found.encoder("dx")
    assert dx is not None
    assert type(dx) is np.ndarray
    assert dx.tolist() == list(range(10))
    assert found.encoder("vsig") is None
    write_python2_pickle(path, {"stimuli": []})
    with pytest.raises(MissingDataError, match="has no 'fps'"):
        _ = open_stimulus_pickle(path).frames_per_second


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_python_3(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "stimulus.pkl"
    plain = {key: value for key, value in CONTENTS.items() if key != "startdatetime" or protocol > 1}
    path.write_bytes(pickle.dumps(plain, protocol=protocol if protocol < 5 else 4))
    assert open_stimulus_pickle(path).contents["intervalsms"].tolist() == [16.7] * 9


class Runs:
    """An object whose pickle calls something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def named(module: str, name: str, *arguments: str) -> bytes:
    """Write a pickle that calls module.name, as Python 2 spells it."""
    texts = b"".join(b"U" + struct.pack("<B", len(a)) + a.encode() for a in arguments)
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + texts + b"tR."


GADGETS = {
    "os.system": named("posix", "system", "touch {flag}"),
    "os.system by its folder name": named("os", "system", "touch {flag}"),
    "subprocess.Popen": named("subprocess", "Popen", "touch {flag}"),
    "subprocess.check_output": named("subprocess", "check_output", "touch {flag}"),
    "eval of Python 2": named("__builtin__", "eval", "open('{flag}', 'w')"),
    "exec of Python 3": named("builtins", "exec", "open('{flag}', 'w')"),
    "getattr": named("builtins", "getattr", "os", "system"),
    "__import__": named("__builtin__", "__import__", "os"),
    "open": named("io", "open", "{flag}", "w"),
    "pty.spawn": named("pty", "spawn", "touch {flag}"),
    "shutil.rmtree": named("shutil", "rmtree", "{flag}"),
    "importlib": named("importlib", "import_module", "antigravity"),
    "runpy": named("runpy", "_run_code", "open('{flag}', 'w')"),
    "code": named("code", "interact"),
    "timeit": named("timeit", "timeit", "open('{flag}', 'w')"),
    "webbrowser": named("webbrowser", "open", "{flag}"),
    "operator.attrgetter": named("operator", "attrgetter", "system"),
    "functools.partial": named("functools", "partial", "system"),
    "copy_reg": named("copy_reg", "_reconstructor", "object"),
    "numpy.load": named("numpy", "load", "{flag}"),
    "numpy.fromfile": named("numpy.core.multiarray", "fromfile", "{flag}"),
    "numpy's exec": named("numpy.testing._private.utils", "runstring", "open('{flag}', 'w')"),
    "numpy.f2py": named("numpy.f2py.diagnose", "run_command", "touch {flag}"),
    "numpy.ctypeslib": named("numpy.ctypeslib", "load_library", "{flag}"),
    "numpy.memmap": named("numpy", "memmap", "{flag}"),
    "pandas": named("pandas", "read_pickle", "{flag}"),
    "h5py": named("h5py", "File", "{flag}", "w"),
    "datetime by a dotted name": named("datetime", "datetime.__class__", "x"),
    "a name with a dot": b"\x80\x04\x8c\x08datetime\x8c\x17datetime.__init_subclass__\x93.",
    "collections' module": named("collections", "namedtuple", "A", "b"),
    "an array in one step": named("numpy", "ndarray", "O"),
    "a call that Python pickles": pickle.dumps(Runs(os.system, "touch {flag}")),
    "an object of ours": pickle.dumps(functools.partial(print, "x")),
    "a persistent id": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "an extension code": b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("gadget", GADGETS)
def test_gadgets_are_refused_and_never_run(tmp_path: Path, gadget: str) -> None:
    path, flag = tmp_path / "stimulus.pkl", tmp_path / "ran"
    raw = GADGETS[gadget]
    path.write_bytes(raw.replace(b"{flag}", b"." * 6))
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(FileFormatError) as refused:
            read_restricted_pickle(path)
    finally:
        os.chdir(here)
    assert not flag.exists()
    assert {item.name for item in tmp_path.iterdir()} == {"stimulus.pkl"}
    if raw.startswith(b"\x80\x02c") and "one step" not in gadget:
        module, name = raw[3:].split(b"\n")[:2]
        assert f"{module.decode()}.{name.decode()}" in str(refused.value)


class Reduced:
    """An object that is pickled as these parts say."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype([("a", "O")]),
        np.dtype("V8"),
        Reduced(np.dtype, ("O8", False, True), (3, "|", None, None, None, 8, 1, 0)),
    ],
    ids=["record", "void", "objects that hide"],
)
def test_memory_that_passes_for_objects(tmp_path: Path, dtype: Any) -> None:
    """An array of objects is pickled as a list; one whose dtype hides that it holds objects would read raw pointers."""
    path = tmp_path / "stimulus.pkl"
    function, arguments, (version, shape, _, order, _) = np.zeros(1, "i8").__reduce__()  # type: ignore[misc]
    path.write_bytes(pickle.dumps(Reduced(function, arguments, (version, shape, dtype, order, b"\x01" * 8)), 2))
    with pytest.raises(UnsafePickleError, match="only plain numbers, texts and objects"):
        read_restricted_pickle(path)


def test_not_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "stimulus.pkl"
    with pytest.raises(MissingFileError):
        read_restricted_pickle(path)
    for raw in (b"", b"hello", pickle.dumps(CONTENTS)[:-20]):
        path.write_bytes(raw)
        with pytest.raises(FileFormatError, match="no pickle, or a damaged one"):
            read_restricted_pickle(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(FileFormatError, match="holds a list"):
        open_stimulus_pickle(path)
