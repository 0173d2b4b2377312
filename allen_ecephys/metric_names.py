"""Names of the stimulus metrics: as the release documents them, and as its CSV files have them.

The documented names are those of the metric table of *Visual Coding - Neuropixels* in the release's documentation; the
other metrics have the same name in both.
"""

from __future__ import annotations

from typing import Final

#: Stimuli of the metrics, as the suffixes of their names say them.
STIMULI: Final = ("dg", "sg", "ns", "dm", "fl", "rf")

#: Documented name -> name in the released files, where they differ.
RELEASED_NAMES: Final = {
    **{f"p_run_mod_{stimulus}": f"run_pval_{stimulus}" for stimulus in STIMULI},
    **{f"fano_factor_{stimulus}": f"fano_{stimulus}" for stimulus in ("ns", "dm", "fl", "rf")},
    "pref_image_multi_ns": "pref_images_multi_ns",
}

#: Name in the released files -> documented name, where they differ.
DOCUMENTED_NAMES: Final = {released: documented for documented, released in RELEASED_NAMES.items()}
