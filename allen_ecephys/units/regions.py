"""Which structures a name stands for: itself, and for a parent such as ``TH`` all that lie in it.

The tree is that of the Allen Mouse Brain Common Coordinate Framework (CCF v3, structure graph 1) for the structures in
which the release has channels, with one liberty, the release's own: ``VIS`` are all visual areas by name, with VISrl,
VISmma and VISmmp, which the CCF counts to the posterior parietal and retrosplenial areas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..errors import InvalidTypeError, UnknownNameError, suggest

#: Parent -> its parts; a part may be a parent itself.
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "VIS": ("VISal", "VISam", "VISl", "VISli", "VISmma", "VISmmp", "VISp", "VISpm", "VISrl"),
    "Isocortex": ("VIS",),
    "CA": ("CA1", "CA2", "CA3"),
    "HIP": ("CA", "DG"),
    "RHP": ("POST", "PRE", "ProS", "SUB"),
    "HPF": ("HIP", "RHP"),
    "OLF": ("COAa", "COApm"),
    "CTXsp": ("BMAa",),
    "STR": ("CP",),
    "MG": ("MGd", "MGm", "MGv"),
    "TH": (
        "Eth", "IGL", "IntG", "LD", "LGd", "LGv", "LP", "MG", "PF", "PIL", "PO", "POL", "PP", "PoT", "RT", "SGN",
        "VL", "VPL", "VPM",
    ),
    "HY": ("ZI",),
    "SCs": ("SCop", "SCsg", "SCzo"),
    "SCm": ("SCig", "SCiw"),
    "SC": ("SCs", "SCm"),
    "MB": ("APN", "LT", "MRN", "NOT", "OP", "PPT", "RPF", "SC"),
}  # fmt: skip


#: Names that papers use -> the acronym in tables.
_IN_PAPERS: Final[Mapping[str, str]] = {
    "V1": "VISp", "LM": "VISl", "AL": "VISal", "RL": "VISrl", "PM": "VISpm", "AM": "VISam", "LGN": "LGd", "dLGN": "LGd",
    "hippocampus": "HPF", "thalamus": "TH", "midbrain": "MB", "cortex": "Isocortex",
}  # fmt: skip


def acronyms_of(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return the acronyms that a user named: one, or several."""
    given = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Iterable) else (names,)
    if isinstance(names, Mapping):
        given = ()
    wrong = [name for name in given if not isinstance(name, str)]
    if wrong or not given:
        msg = f"structures are acronyms such as 'VISp', or ['VISp', 'LGd'], or None for all; got {names!r}"
        raise InvalidTypeError(msg)
    return given


def with_parts(names: Iterable[str]) -> set[str]:
    """Return names and all structures that lie in them."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting += PARTS.get(name, ())
    return found


def lie_in(acronyms: Iterable[Any], names: Iterable[str]) -> list[bool]:
    """Tell which acronyms are one of the names, or lie in it; ``LGd-sh`` lies in ``LGd``."""
    wanted = with_parts(names)
    return [isinstance(held, str) and (held in wanted or held.split("-")[0] in wanted) for held in acronyms]


def are_in_the_tree(names: Iterable[str]) -> bool:
    """Tell whether all names are structures of the tree, so that no table has to be asked for them."""
    return with_parts(PARTS).issuperset(names)


def check_known(names: Iterable[str], acronyms: Iterable[Any]) -> None:
    """Refuse a name that neither a table nor the tree of structures holds.

    Raises
    ------
    UnknownNameError
        With the name that was probably meant, and those that the table holds.
    """
    held = sorted({acronym for acronym in acronyms if isinstance(acronym, str)})
    known = with_parts(PARTS) | set(held) | {acronym.split("-")[0] for acronym in held}
    for name in names:
        if name not in known:
            in_tables = _IN_PAPERS.get(name, "")
            near = f"; did you mean {in_tables!r}?" if in_tables else ""
            near = near or suggest(name, held) or suggest(name, sorted(known)) or "."
            msg = f"no unit lies in {name!r}{near} There are: {', '.join(held)}"
            raise UnknownNameError(msg)
