"""The report of a session: one HTML page that needs nothing else, to see in a minute what a recording holds.

jinja2 fills ``report.html`` and escapes every text of the file; figures are drawn by matplotlib and lie in the page as
PNG. Both come with ``pip install 'allen-ecephys[report]'``. Equal files give equal pages.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import expanded
from ..errors import AlreadyPresentError, MissingFileError, missing_extra
from ..files import write_atomically
from ..units.filter import UnitFilter
from ..version import __version__
from . import sections

if TYPE_CHECKING:
    import os

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
    with mpl.rc_context(style):
        everything = session.with_units(UnitFilter.none()).units
        content = [
            sections.identity(session, len(everything)),
            sections.units(session, everything),
            sections.quality(session, everything),
            sections.time_course(session),
            sections.examples(session),
        ]
    page = template.from_string(files("allen_ecephys.report").joinpath("report.html").read_text("utf-8"))
    return page.render(title=f"Session {session.ecephys_session_id}", sections=content, version=__version__)
