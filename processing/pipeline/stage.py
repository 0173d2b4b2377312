"""Stages on files: each writes one folder, which appears complete, with a manifest, or not at all.

A stage writes into a draft beside its folder; when its work is done every output is flushed and hashed, the
manifest ``stage.json`` is written last, and the folder is renamed. A run that finds a manifest with the same inputs,
parameters and program reuses the folder. Inputs are the same if their bytes are: neither the time of a file nor its
place, nor the machine, makes a stage run again.
"""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from allen_ecephys.errors import AccessError, StageError, explains_unknown_names
from allen_ecephys.files import (
    abandoned_drafts,
    draft_of,
    naming_a_full_disk,
    remove_abandoned_drafts,
    sync_files,
    sync_folder,
    write_atomically,
)

from .digests import State, content_digest, digest_of, file_state, note_digest, sha256
from .manifest import MANIFEST, Json, changed_output, read_manifest
from .provenance import made_by, measured

logger = logging.getLogger(__name__)

#: Whether stages are only looked at: see :func:`looking_only`.
_looking: ContextVar[bool] = ContextVar("_looking", default=False)

#: Errors of a place where nothing can be written: no permission, a read-only disk, a file where a folder is to be.
UNWRITABLE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST})


@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Attributes
    ----------
    folder
        Its outputs.
    reused
        Whether an earlier run had made them.
    manifest
        What ``stage.json`` holds: the stage's ``parameters`` and ``version``, digests of its ``inputs`` and
        ``outputs``, what it counted (``report``), the libraries it was ``made_by``, and its ``cost`` (seconds, CPU,
        peak of memory).

    Examples
    --------
    >>> result = StageResult(Path("probe_a/units"), reused=True, manifest={"report": {"n_units": 12}})
    >>> result.report
    {'n_units': 12}
    """

    folder: Path
    reused: bool
    manifest: Json

    @property
    def report(self) -> Json:
        """What the stage counted.

        Examples
        --------
        >>> StageResult(Path("probe_a/units"), reused=False, manifest={"report": {"n_units": 12}}).report["n_units"]
        12
        """
        return dict(self.manifest["report"])


@explains_unknown_names
@dataclass(frozen=True)
class Stage:
    """One step of the chain: its name, and what it leaves in the folder of that name.

    Attributes
    ----------
    name
        Of the stage, and of its folder below the probe's (or the session's).
    outputs
        Files that it always writes; further ones may lie beside them.
    editable
        Patterns of outputs that a person may change afterwards, as phy does: such a change does not make the stage run
        again, and a folder that bears one is never replaced.

    Examples
    --------
    >>> Stage("depth_estimation", outputs=("probe_info.json",)).file("probe_a", "probe_info.json").as_posix()
    'probe_a/depth_estimation/probe_info.json'
    """

    name: str
    outputs: tuple[str, ...] = ()
    editable: tuple[str, ...] = ()

    def folder(self, place: str | os.PathLike[str]) -> Path:
        """Return the stage's folder below the folder of a probe or session.

        Examples
        --------
        >>> Stage("units").folder("probe_a").as_posix()
        'probe_a/units'
        """
        return Path(place) / self.name

    def file(self, place: str | os.PathLike[str], output: str) -> Path:
        """Return where one of its outputs is.

        Examples
        --------
        >>> Stage("units", outputs=("metrics.csv",)).file("probe_a", "metrics.csv").as_posix()
        'probe_a/units/metrics.csv'
        """
        return self.folder(place) / output

    def is_finished(self, place: str | os.PathLike[str]) -> bool:
        """Tell whether the stage has run to its end in the folder of a probe or session.

        Examples
        --------
        >>> Stage("units").is_finished("nowhere")
        False
        """
        return read_manifest(self.folder(place)) is not None

    def finished(self, place: str | os.PathLike[str]) -> StageResult:
        """Return what the stage left in the folder of a probe or session.

        Raises
        ------
        StageError
            If it has not run to its end there, or an output is not what it wrote.

        Examples
        --------
        >>> Stage("units").finished("nowhere")
        Traceback (most recent call last):
            ...
        allen_ecephys.errors.StageError: nowhere holds no finished stage 'units'
        """
        manifest = read_manifest(self.folder(place))
        if manifest is None:
            msg = f"{place} holds no finished stage {self.name!r}"
            raise StageError(msg)
        if changed := changed_output(self.folder(place), manifest, self.editable):
            msg = f"the stage {self.name} in {place} is to run again: {changed}"
            raise StageError(msg)
        return StageResult(self.folder(place), reused=True, manifest=manifest)

    def run(
        self,
        place: str | os.PathLike[str],
        work: Callable[[Path], Mapping[str, Any]],
        *,
        inputs: Sequence[str | os.PathLike[str]],
        parameters: Mapping[str, Any],
    ) -> StageResult:
        """Run the stage, or reuse what an earlier run left.

        Parameters
        ----------
        place
            Folder of the probe or session; the stage makes its folder in it.
        work
            Writes the outputs into the folder it is given, and returns what it counted (as JSON can hold).
        inputs
            Files, or folders of earlier stages, that the result depends on.
        parameters
            Everything else that the result depends on, seeds included.

        Raises
        ------
        StageError
            If the stage's folder holds something that no stage wrote, or that a person changed since (then the new
            outputs lie beside it, in a folder that the message names), if an output that it declares was not
            written, or if an input changed while the stage ran.

        Examples
        --------
        >>> def count(draft):
        ...     (draft / "found.txt").write_text("3")
        ...     return {"found": 3}
        >>> stage = Stage("counting", outputs=("found.txt",))
        >>> stage.run("a_probe", count, inputs=["session.nwb"], parameters={"threshold": 5}).reused
        False
        >>> stage.run("a_probe", count, inputs=["session.nwb"], parameters={"threshold": 5}).reused
        True
        """
        target = self.folder(place)
        if _looking.get():
            return self._look(target, inputs, parameters)
        before = _states(inputs)
        key = self.identity(inputs, parameters, notes=Path(place))
        name = "/".join(filter(None, (target.parent.name, self.name)))  # of which probe or session
        found = self._reusable(target, key)
        if found is not None:
            logger.info("%s: reusing the outputs in %s", name, target)
            return StageResult(target, reused=True, manifest=found)
        self._refuse_foreign(target)
        temporary = draft_of(target)
        try:
            with naming_a_full_disk(target.parent):
                target.parent.mkdir(parents=True, exist_ok=True)
                self._remove_abandoned(target)
                self._refuse_to_replace_edited(target)
                temporary.mkdir()
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            msg = f"{target.parent} cannot be written into ({error.strerror}); name another output folder"
            raise AccessError(msg) from error
        earlier = read_manifest(target)
        if earlier is None:
            logger.info("%s: running", name)
        else:
            logger.info("%s: running, in place of what is in %s: %s", name, target, self._why_not(target, earlier, key))
        begun = time.monotonic()
        try:
            with measured() as cost, naming_a_full_disk(target.parent):
                report = dict(work(temporary))
            missing = [output for output in self.outputs if not (temporary / output).is_file()]
            if missing:
                msg = f"the stage {self.name} did not write {', '.join(missing)}"
                raise StageError(msg)
            self._refuse_changed(before, _states(inputs))
            states = {str(path.relative_to(temporary)): file_state(path) for path in _files_below(temporary)}
            manifest = {**key, "report": report, "outputs": _outputs(temporary), "made_by": made_by(), "cost": cost}
            with naming_a_full_disk(target.parent):
                sync_files(temporary)
                write_atomically(temporary / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
            logger.info("%s: done in %.1f s", name, time.monotonic() - begun)
            result = self._publish(temporary, target, key, manifest)
            if not result.reused:
                _note(target, states, manifest)
            return result
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def identity(
        self, inputs: Sequence[str | os.PathLike[str]], parameters: Mapping[str, Any], *, notes: Path | None = None
    ) -> Json:
        """Return all that the outputs depend on, as the manifest holds it: equal identities, equal outputs.

        Digests of files are noted in the folder `notes`, see :mod:`.digests`.
        """
        from allen_ecephys.version import __version__

        key = {
            "stage": self.name,
            "version": __version__,
            "parameters": dict(parameters),
            "inputs": [_input_identity(Path(path), notes) for path in inputs],
        }
        return dict(json.loads(json.dumps(key)))  # as it will be read back: tuples are lists, keys are text

    def edits(self, folder: str | os.PathLike[str]) -> list[str]:
        """Return what a person changed in a folder of this stage: editable files whose bytes differ, or new ones.

        Files that cannot be compared (no manifest says what they were) count as changed.
        """
        manifest = read_manifest(folder)
        written: Json = {} if manifest is None else manifest["outputs"]
        present = sorted({path for pattern in self.editable for path in Path(folder).glob(pattern)})
        return [path.name for path in present if sha256(path) != written.get(path.name, {}).get("sha256")]

    def _remove_abandoned(self, target: Path) -> None:
        """Delete what processes of this machine left when they were killed: it can be as large as the recording.

        A finished folder that a person changed, set aside by a process that was killed before it had looked, goes back.
        """
        for draft in abandoned_drafts(target.parent):
            if not draft.name.startswith(f".{target.name}."):
                continue
            if self.editable and read_manifest(draft) is not None and self.edits(draft):
                place = _free_name(target) if target.exists() else target
                logger.warning("%s was curated; it goes back to %s", draft, place)
                draft.rename(place)
            else:
                logger.warning("removing %s, which a process that is gone left unfinished", draft)
        remove_abandoned_drafts(target.parent)

    def _look(
        self, target: Path, inputs: Sequence[str | os.PathLike[str]], parameters: Mapping[str, Any]
    ) -> StageResult:
        """Return the finished stage, or raise that it would run, and why."""
        manifest = read_manifest(target)
        if manifest is None:
            self._refuse_foreign(target)
            raise StageNotCurrentError(self.name, "")
        key = self.identity(inputs, parameters, notes=target.parent)
        found = self._reusable(target, key)
        if found is None:
            raise StageNotCurrentError(self.name, self._why_not(target, manifest, key))
        return StageResult(target, reused=True, manifest=found)

    def _refuse_foreign(self, target: Path) -> None:
        """Raise if a folder holds what no stage wrote: neither a manifest nor all that this stage leaves."""
        if not target.is_dir() or (target / MANIFEST).exists() or not any(target.iterdir()):
            return
        if not self.outputs or any(not (target / name).is_file() for name in self.outputs):
            msg = f"{target} holds files but no {MANIFEST}; no stage wrote it. Move it away, or name another folder."
            raise StageError(msg)

    def _refuse_changed(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        changed = [name for name, state in before.items() if after[name] != state]
        if changed:
            msg = f"{', '.join(changed)} changed while the stage {self.name} read it; wait until it is complete"
            raise StageError(msg)

    def _reusable(self, target: Path, key: Json) -> Json | None:
        """Return the manifest of a folder with the same identity whose outputs are all there, as they were written."""
        manifest = read_manifest(target)
        if manifest is None or any(manifest.get(name) != value for name, value in key.items()):
            return None
        return None if changed_output(target, manifest, self.editable) else manifest

    def _why_not(self, target: Path, manifest: Json, key: Json) -> str:
        """Return why what a manifest describes is not reused."""
        same = all(manifest.get(name) == value for name, value in key.items())
        return changed_output(target, manifest, self.editable) if same else _difference(manifest, key)

    def _refuse_to_replace_edited(self, target: Path) -> None:
        edits = self.edits(target) if self.editable else []
        if edits and not (target / MANIFEST).exists():
            msg = (
                f"{target} has lost its {MANIFEST}, so that nobody can tell whether it was curated. Move it away, and "
                "run again"
            )
            raise StageError(msg)
        if edits:
            msg = (
                f"{target} was curated after it was made ({', '.join(edits)}), and inputs or parameters have changed "
                "since: running the stage again would replace it. Move it away, or name another output folder"
            )
            raise StageError(msg)

    def _publish(self, temporary: Path, target: Path, key: Json, manifest: Json) -> StageResult:
        """Rename to the final name; where another process has finished the same stage meanwhile, take its outputs.

        What a person changed while the stage ran stays where it is; the new outputs go beside it.
        """
        old = None
        if target.exists():
            done = self._reusable(target, key)
            if done is not None:
                return StageResult(target, reused=True, manifest=done)
            self._keep_edited(target, temporary, target)
            old = draft_of(target)
            target.replace(old)
            self._keep_edited(old, temporary, target)  # what was saved between the look and the rename
        result = StageResult(target, reused=False, manifest=manifest)
        try:
            temporary.replace(target)
        except OSError:
            done = self._reusable(target, key)
            if done is None:
                if old is not None and not target.exists():
                    old.rename(target)
                raise
            result = StageResult(target, reused=True, manifest=done)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
        sync_folder(target.parent)
        return result

    def _keep_edited(self, folder: Path, temporary: Path, target: Path) -> None:
        """Put the new outputs beside `target` and say so, if `folder`, which holds what `target` held, was edited."""
        edits = self.edits(folder) if self.editable else []
        if not edits:
            return
        if folder != target:
            folder.rename(target)
        beside = _free_name(target)
        temporary.rename(beside)
        sync_folder(target.parent)
        msg = (
            f"{target} was curated while the stage {self.name} ran ({', '.join(edits)}) and stays as it is; the new "
            f"outputs are in {beside}. Move one of the two away and run again"
        )
        raise StageError(msg)


def input_files(*recordings: Any) -> list[Path]:
    """Return the files that recordings are read from; for outputs of a stage, that stage's folder.

    Raises
    ------
    StageError
        If a recording does not say which file it comes from.
    """
    named = [getattr(r, "files", (getattr(r, "path", None),)) for r in recordings if r is not None]
    paths = [path for files in named for path in files]
    if None in paths:
        msg = "the recording does not say which files it comes from; name them with inputs=[...]"
        raise StageError(msg)
    found = [Path(str(path)) for path in paths]
    return [path.parent if (path.parent / MANIFEST).exists() else path for path in found]


@contextmanager
def looking_only() -> Iterator[None]:
    """Make every stage tell, in this block, whether it is up to date, and run none.

    A stage that would run raises :class:`StageNotCurrentError` instead: what runs is decided in one place.
    """
    token = _looking.set(True)
    try:
        yield
    finally:
        _looking.reset(token)


class StageNotCurrentError(StageError):
    """A stage that would run; only within :func:`looking_only`.

    Attributes
    ----------
    reason
        What has changed since it ran; empty if it never did.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the stage {name} {'is to run again: ' + reason if reason else 'has not run'}")
        self.reason = reason


def _input_identity(path: Path, notes: Path | None) -> Json:
    """Tell one state of an input: the digest of a file, or of what a stage left in its folder."""
    manifest = read_manifest(path) if path.is_dir() else None
    if manifest is not None:
        if changed := changed_output(path, manifest):
            msg = f"{path} is not what its stage left: {changed}; run that stage again"
            raise StageError(msg)
        return {"name": path.name, "sha256": digest_of(manifest["outputs"])}
    if path.is_dir():
        held = {str(file.relative_to(path)): content_digest(file, notes) for file in _files_below(path)}
        return {"name": path.name, "sha256": digest_of(held)}
    return {"name": path.name, "size": path.stat().st_size, "sha256": content_digest(path, notes)}


def _states(inputs: Sequence[str | os.PathLike[str]]) -> dict[str, Any]:
    """Return what tells that inputs did not change: a stage's folder is replaced whole, with its manifest."""
    found: dict[str, Any] = {}
    for path in map(Path, inputs):
        if (path / MANIFEST).is_file():
            found[str(path)] = file_state(path / MANIFEST)
        else:
            found[str(path)] = [file_state(file) for file in (_files_below(path) if path.is_dir() else [path])]
    return found


def _difference(manifest: Json, key: Json) -> str:
    """Say what of a stage's identity has changed since its manifest was written."""
    if manifest.get("version") != key["version"]:
        return f"made by version {manifest.get('version')}, this is {key['version']}"
    old, new = _flat(manifest.get("parameters", {})), _flat(key["parameters"])
    differing = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    digested = {name for name in differing if _is_digest(old.get(name)) or _is_digest(new.get(name))}
    changed = [f"{name} {old.get(name)!r} -> {new.get(name)!r}" for name in differing if name not in digested]
    changed += sorted({name.partition(".")[0] for name in digested})
    before = manifest.get("inputs", [])
    changed += [f"input {told['name']}" for told in key["inputs"] if told not in before]
    return ", ".join(changed) or "inputs in another order or number"


def _is_digest(value: object) -> bool:
    """Tell a digest, of which a reader learns nothing, from a value."""
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16,64}", value) is not None


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Json:
    """Return parameters of parameters by names with dots."""
    found: Json = {}
    for name, value in parameters.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _free_name(target: Path) -> Path:
    """Return a name beside `target` that nothing has."""
    numbers = itertools.count(2)
    return next(path for n in numbers if not (path := target.with_name(f"{target.name}-{n}")).exists())


def _outputs(folder: Path) -> Json:
    files = _files_below(folder)
    return {str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": sha256(path)} for path in files}


def _note(folder: Path, states: Mapping[str, State], manifest: Json) -> None:
    """Note the digests of outputs that were just written, so that nobody reads them only to compare."""
    for output, state in states.items():
        note_digest(folder / output, folder.parent, state, manifest["outputs"][output]["sha256"])


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
