"""The report of a session: one HTML page that needs nothing else, to see in a minute what a recording holds.

jinja2 fills ``report.html`` and escapes every text of the file; figures are drawn by matplotlib and lie in the page as
PNG. Both come with ``pip install 'allen-ecephys[report]'``. Equal files give equal pages.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import expanded
from ..errors import AlreadyPresentError, MissingFileError, missing_extra
from ..files import write_atomically
from ..units.filter import UnitFilter
from ..version import __version__
from .along_probes import depths, field_potential
from .responding import examples, light
from .sections import Section, identity, quality, structures, time_course
from .unit_details import unit_details, unit_table

if TYPE_CHECKING:
    import os

    import pandas as pd

    from .contents import ReportedSession


def write_report(session: ReportedSession, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write the report of `session` to `path` (see :meth:`.EcephysSession.report`)."""
    target = expanded(path)
    if target.exists() and not overwrite:
        msg = f"{target} exists already; name another file, or pass overwrite=True"
        raise AlreadyPresentError(msg)
    if not target.absolute().parent.is_dir():
        msg = f"there is no folder {target.absolute().parent} to write {target.name} to; make it first"
        raise MissingFileError(msg)
    page = render(session)
    write_atomically(target, page, replace=overwrite)
    return target


def render(session: ReportedSession) -> str:
    """Return the page.

    Raises
    ------
    MissingExtraError
        If jinja2 or matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        library, extra, purpose = "jinja2 and matplotlib", "report", "a session report"
        raise missing_extra(library, extra, purpose) from error
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    # Names of structures and stimuli are not formulas, whatever dollar signs they hold.
    style: dict[Any, Any] = {
        "text.parse_math": False,
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    whole = session.with_units(UnitFilter.none())
    everything = whole.units
    with mpl.rc_context(style):
        content = [
            identity(session, len(everything)),
            time_course(session),
            Section("Units", note=_note(session, everything), is_unit_table=len(everything) > 0),
            structures(session, everything),
            depths(session, everything),
            quality(session, everything),
            examples(session),
            field_potential(session),
            light(session),
        ]
    table = unit_table(session, everything)
    details = unit_details(whole, [int(unit) for unit in table["id"]], n_units=len(everything)) if table["id"] else {}
    folder = files("allen_ecephys.report")
    script = folder.joinpath("report.js").read_text("utf-8")
    page = template.from_string(folder.joinpath("report.html").read_text("utf-8"))
    return page.render(
        title=f"Session {session.ecephys_session_id}",
        sections=content,
        version=__version__,
        unit_data=Markup(_json({"table": table, "details": details})),  # noqa: S704  no element can end in it
        script=Markup(script),  # noqa: S704  our own
        script_digest=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def _json(data: object) -> str:
    """Return data as JSON that can stand in a page: no element ends or begins in it."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _note(session: ReportedSession, everything: pd.DataFrame) -> str:
    if not len(everything):
        return "The file holds no units."
    hidden = {name: n for name, n in session.hidden_units().items() if n}
    said = ", ".join(f"{name} {n:,}" for name, n in hidden.items())
    return "Click a heading to sort, a unit to see its waveform, autocorrelogram, amplitudes and responses." + (
        f" The filter hides units (one can fail several bounds): {said}." if said else ""
    )
