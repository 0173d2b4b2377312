"""One recording session: :class:`EcephysSession`, a lazy view of its NWB file."""

from __future__ import annotations

import html
import textwrap
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import AllenEcephysError, MissingDataError
from ..nwb import layout
from .file import SessionCompanions
from .signals import SessionSignals

if TYPE_CHECKING:
    import os
    from datetime import datetime
    from pathlib import Path

__all__ = ["EcephysSession", "SessionCompanions"]


class EcephysSession(SessionSignals):
    """One session of the release, or of any file in its layout, read lazily.

    Opening reads nothing. Tables are read when they are first asked for, spikes and waveforms unit by unit; what was
    read is kept. Frames that are returned are the caller's to change. A session can be pickled (it reopens by path),
    is a context manager, and closes its one file handle.

    Parameters
    ----------
    path
        Path of a session NWB file, an fsspec URL, or an open binary file.
    unit_filter
        Which units are shown; by default those of the release's quality thresholds. ``UnitFilter.none()`` shows all.
    companions
        What a project cache knows beyond the file: true CCF coordinates, analysis metrics, where LFP files are.

    Raises
    ------
    MissingFileError
        If a local path does not exist; other faults of a file show when it is first read.

    Examples
    --------
    >>> session = EcephysSession("session_715093703.nwb")  # doctest: +SKIP
    >>> session.units["snr"].median()  # doctest: +SKIP
    """

    # --- identity ----------------------------------------------------------------------------------------------

    @cached_property
    def ecephys_session_id(self) -> int:
        """Id of the session."""
        return int(self._file.reader.text(layout.IDENTIFIER))

    @cached_property
    def session_start_time(self) -> datetime:
        """Start of the session as the file says, with time zone; in released files, when the file was packaged."""
        from datetime import datetime

        return datetime.fromisoformat(self._file.reader.text(layout.SESSION_START_TIME))

    @cached_property
    def session_type(self) -> str | None:
        """Stimulus set: ``brain_observatory_1.1`` or ``functional_connectivity``."""
        return self._optional_text(layout.STIMULUS_NOTES)

    @property
    def specimen_name(self) -> str | None:
        """Name of the mouse."""
        name = self._subject_attribute("specimen_name")
        return None if name is None else str(name)

    @property
    def age_in_days(self) -> float | None:
        """Age of the mouse at the recording (days)."""
        age = self._subject_attribute("age_in_days")
        return None if age is None else float(age)

    @property
    def sex(self) -> str | None:
        """Sex of the mouse: M or F."""
        return self._optional_text(f"{layout.SUBJECT}/sex")

    @property
    def full_genotype(self) -> str | None:
        """Genotype of the mouse."""
        return self._optional_text(f"{layout.SUBJECT}/genotype")

    @property
    def subject_id(self) -> str | None:
        """Id of the donor."""
        return self._optional_text(f"{layout.SUBJECT}/subject_id")

    @property
    def species(self) -> str | None:
        """Species of the subject."""
        return self._optional_text(f"{layout.SUBJECT}/species")

    @property
    def metadata(self) -> dict[str, Any]:
        """The session in a dictionary: identity, subject, rig, counts, structures and stimuli. None where unknown."""
        from ..signals.behavior import read_rig_equipment_name

        try:
            rig: str | None = read_rig_equipment_name(self._file.reader)
        except MissingDataError:
            rig = None
        return {
            "specimen_name": self.specimen_name,
            "session_type": self.session_type,
            "full_genotype": self.full_genotype,
            "sex": self.sex,
            "age_in_days": self.age_in_days,
            "rig_equipment_name": rig,
            "num_units": self.num_units,
            "num_channels": self.num_channels,
            "num_probes": self.num_probes,
            "num_stimulus_presentations": self.num_stimulus_presentations,
            "session_start_time": self.session_start_time,
            "ecephys_session_id": self.ecephys_session_id,
            "structure_acronyms": self.structure_acronyms,
            "stimulus_names": self.stimulus_names,
        }

    def _optional_text(self, path: str) -> str | None:
        reader = self._file.reader
        return reader.text(path) if reader.has(path) else None

    def _subject_attribute(self, name: str) -> Any:
        reader = self._file.reader
        if not reader.has(layout.SUBJECT):
            return None
        held = f"{layout.SUBJECT}/{name}"
        return reader.text(held) if reader.has(held) else reader.attribute(layout.SUBJECT, name)

    # --- saying what it is -------------------------------------------------------------------------------------

    def report(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write an HTML page that shows what the session holds; it needs no other file and no network.

        Identity, units by structure, quality metrics with the bounds of the filter, stimuli, running and pupil over
        time, and some responding units. What the session lacks is said. Needs the extra ``report``.

        Parameters
        ----------
        path
            The file to write, ``*.html``.
        overwrite
            Replace an existing file.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        AlreadyPresentError
            If the file exists and `overwrite` is False.
        MissingFileError
            If its folder does not exist.
        MissingExtraError
            If jinja2 or matplotlib is not installed.
        """
        from ..report.page import write_report

        return write_report(self, path, overwrite=overwrite)

    def __repr__(self) -> str:
        lines = ["EcephysSession"]
        for label, text in self._summary():
            first, rest = f"  {label:<11} ", " " * 14
            lines += textwrap.wrap(text, 80, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(label)}</th><td>{html.escape(text)}</td></tr>"
            for label, text in self._summary()
        )
        return f"<div><b>EcephysSession</b><table>{rows}</table></div>"

    def _summary(self) -> list[tuple[str, str]]:
        """Return what a notebook shows: label and text of each line; never an error, whatever the file."""
        lines = [("file", _ending(self.path, 66))]
        try:
            lines += [
                ("session", f"{self.ecephys_session_id}, {self.session_type}"),
                ("units", f"{self.num_units} of {len(self._file.units)} shown ({self.unit_filter.describe()})"),
            ]
            hidden = self.hidden_units()
            if hidden.any():
                named = ", ".join(f"{bound} {n}" for bound, n in hidden[hidden > 0].items())
                lines.append(("hidden by", named))
            lines += [
                ("probes", ", ".join(str(name) for name in self.probes["description"])),
                ("structures", f"{self.structurewise_unit_counts.size} with units"),
            ]
        except (AllenEcephysError, OSError) as error:
            lines.append(("unreadable", f"{type(error).__name__}: {error}"))
        return lines


def _ending(text: str, length: int) -> str:
    return text if len(text) <= length else f"...{text[3 - length :]}"
