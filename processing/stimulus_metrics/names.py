"""Names of metric columns: as documented, and as in the released CSV files."""

from __future__ import annotations

from collections.abc import Iterable

#: Documented name -> name in the released files, where they differ.
RELEASE_NAMES = {
    **{f"p_run_mod_{suffix}": f"run_pval_{suffix}" for suffix in ("dg", "sg", "ns", "dm", "fl", "rf")},
    **{f"fano_factor_{suffix}": f"fano_{suffix}" for suffix in ("ns", "dm", "fl", "rf")},
    "pref_image_multi_ns": "pref_images_multi_ns",
}

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
