"""Which metric columns the released CSV files have, and in which order.

:mod:`allen_ecephys.metric_names` pairs their names with the documented ones.
"""

from __future__ import annotations

from collections.abc import Iterable

#: Columns of this package that the release does not have.
NOT_RELEASED = frozenset(
    {"pref_image_index_ns"}
    | {
        f"{name}_{suffix}"
        for name in ("pref_frame", "reliability", "lifetime_sparseness", "firing_rate")
        for suffix in ("nm1", "nm3")
    }
)

#: Stimuli (by suffix) whose columns the released table of a session type has.
RELEASED_SUFFIXES = {
    "brain_observatory_1.1": ("dg", "sg", "ns", "fl", "rf"),
    "functional_connectivity": ("dg", "dm", "fl", "rf"),
}


def release_order(columns: Iterable[str]) -> list[str]:
    """Return columns in the order of the released files: by length, then by alphabet."""
    return sorted(columns, key=lambda name: (len(name), name))
