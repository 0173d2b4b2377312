"""Every public function, class and method of the rooms has an example in its docstring, and the example is true."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

#: What an example that names an extra needs: it is left out where that is not installed.
EXTRAS = {
    "interop": "pynapple",
    "report": "jinja2",
    "spikeinterface": "spikeinterface",
    "tables": "pyarrow",
    "zarr": "zarr",
}


def public_packages() -> list[str]:
    """The packages of the API pages, as the site's configuration lists them."""
    text = (REPOSITORY / "docs" / "conf.py").read_text(encoding="utf-8")
    listing = text[text.index("PUBLIC = (") : text.index("def write_api_pages")]
    found: dict[str, Any] = {}
    exec(listing, found)
    return list(found["PUBLIC"])


def entries() -> dict[str, tuple[str, Any]]:
    """Name of every public function, class, method and property -> its package, and what holds its docstring."""
    found: dict[str, tuple[str, Any]] = {}
    for package in public_packages():
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            place = getattr(value, "__module__", "")
            if not (inspect.isclass(value) or inspect.isfunction(value)) or not place.startswith("allen_ecephys"):
                continue
            found.setdefault(f"{place}.{value.__qualname__}", (package, value))
            for member in methods(value):
                found.setdefault(f"{member.__module__}.{member.__qualname__}", (package, member))
    return found


def methods(kind: Any) -> Iterator[Any]:
    """Public methods and properties of a class that the package itself defines."""
    if not inspect.isclass(kind) or issubclass(kind, Exception):
        return
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    for key in dir(kind):
        if key.startswith("_") or key in fields:
            continue
        member = inspect.getattr_static(kind, key)
        for wrapped in ("fget", "__func__", "func"):
            member = getattr(member, wrapped, None) or member
        if inspect.isfunction(member) and member.__module__.startswith("allen_ecephys"):
            yield member


ENTRIES = entries()


def example_of(name: str) -> doctest.DocTest:
    package, value = ENTRIES[name]
    module = importlib.import_module(package)
    names = {public: getattr(module, public) for public in module.__all__}
    return doctest.DocTestParser().get_doctest(
        inspect.getdoc(value) or "", names, name, inspect.getsourcefile(value), 0
    )


@pytest.mark.parametrize("name", [name for name in ENTRIES if ">>>" in (inspect.getdoc(ENTRIES[name][1]) or "")])
@pytest.mark.filterwarnings("ignore::UserWarning")  # what an example is told by a warning does not make it wrong
def test_an_example_prints_what_it_shows(
    name: str, world: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd

    folder, made = world
    test = example_of(name)
    for extra in re.findall(r'extra "(\w+)"', test.docstring or ""):
        if find_spec(EXTRAS[extra]) is None:
            pytest.skip(f"needs the extra {extra!r}")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ALLEN_ECEPHYS_PROGRESS", "0")
    mpl.use("Agg")
    test.globs.update(made)
    said: list[str] = []
    with pd.option_context("display.width", 110):
        result = doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=said.append)
    assert result.failed == 0, "".join(said)


def lacking() -> list[str]:
    without = [name for name, (_, value) in ENTRIES.items() if ">>>" not in (inspect.getdoc(value) or "")]
    skipped = [name for name, (_, value) in ENTRIES.items() if "+SKIP" in (inspect.getdoc(value) or "")]
    return without + skipped


def test_all_that_reads_and_fetches_has_an_example() -> None:
    rooms = ("allen_ecephys.processing.", "allen_ecephys.errors.")  # an error's example is that of what raises it
    assert [name for name in lacking() if not name.startswith(rooms)] == []


#: Functions of the processing without an example, by the beginnings of their names, and why.
SHOWN_ELSEWHERE = {
    "allen_ecephys.processing.pipeline": "runs stages of a session: docs/pipeline.md shows the commands",
    "allen_ecephys.processing.stages": "runs stages of a session: docs/pipeline.md shows the commands",
    "allen_ecephys.processing.packaging": "takes a whole session's parts: from_the_rig_to_the_file runs it",
    "allen_ecephys.processing.synchronization": "needs a rig's files: from_the_rig_to_the_file runs it",
    "allen_ecephys.processing.sorting": "sorts for seconds: docs/sorting.md shows it",
    "allen_ecephys.processing.readers": "needs the files of one recorder: docs/what_can_be_read.md",
    "allen_ecephys.processing.lfp_band": "needs the answer to flashes: from_the_rig_to_the_file runs it",
    "allen_ecephys.processing.simulation": "the simulated rig: from_the_rig_to_the_file runs it",
    "allen_ecephys.processing.spike_band.writing.open_processed": "opens what a stage left: docs/sorting.md",
    "allen_ecephys.processing.waveforms.propagation": "of one waveform: waveform_metrics is the table of all",
}


#: Classes of the processing without an example, and why; their methods go with them.
MADE_BY_MINUTES_OF_WORK = {
    "packaging.contents.SessionContents": "holds a whole session: write_session_nwb, docs/file_layout.md",
    "packaging.lfp.LfpContents": "holds a whole LFP: write_lfp_nwb",
    "packaging.session_description.SessionDescription": "needs a rig's files: from_the_rig_to_the_file",
    "simulation.rig.session.RigTruth": "of a whole rig: from_the_rig_to_the_file",
    "sorting.result.SortingResult": "of a sorting: docs/sorting.md",
    "stages.probe.SortedProbe": "of a sorting: docs/from_the_rig.md",
    "stages.session_file.SessionFile": "of a whole session: docs/pipeline.md",
    "stages.session_plan": "of a whole session: docs/pipeline.md",
    "recording.Recording.": "attributes of a protocol, which its class lists",
    "pipeline.stage.Stage.edits": "of files that a person changed: docs/pipeline.md",
    "pipeline.stage.Stage.identity": "decides what is made again: docs/pipeline.md",
}


def test_classes_of_the_processing_have_an_example_or_a_reason() -> None:
    room = "allen_ecephys.processing."
    without = [
        name.removeprefix(room)
        for name in lacking()
        if name.startswith(room) and (inspect.isclass(ENTRIES[name][1]) or "." in ENTRIES[name][1].__qualname__)
    ]
    assert [name for name in without if not name.startswith(tuple(MADE_BY_MINUTES_OF_WORK))] == []
    assert [start for start in MADE_BY_MINUTES_OF_WORK if not any(name.startswith(start) for name in without)] == []


def test_functions_of_the_processing_have_an_example_or_a_reason() -> None:
    functions = [
        name
        for name in lacking()
        if name.startswith("allen_ecephys.processing.") and inspect.isfunction(ENTRIES[name][1])
    ]
    plain = [name for name in functions if "." not in ENTRIES[name][1].__qualname__]
    assert [name for name in plain if not name.startswith(tuple(SHOWN_ELSEWHERE))] == []
    assert [start for start in SHOWN_ELSEWHERE if not any(name.startswith(start) for name in plain)] == []
