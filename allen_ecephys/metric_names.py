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

#: The metrics of a unit, without the suffix of their stimulus.
METRICS: Final = frozenset(
    {
        "area", "azimuth", "c50", "elevation", "f1_f0", "fano", "fano_factor", "firing_rate", "g_dsi", "g_osi",
        "height", "image_selectivity", "lifetime_sparseness", "mod_idx", "on_off_ratio", "on_screen", "p_run_mod",
        "p_value", "pref_dir", "pref_dir_multi", "pref_image", "pref_image_multi", "pref_images_multi", "pref_ori",
        "pref_ori_multi", "pref_phase", "pref_phase_multi", "pref_sf", "pref_sf_multi", "pref_speed",
        "pref_speed_multi", "pref_tf", "pref_tf_multi", "run_mod", "run_pval", "sustained_idx", "time_to_peak",
        "width",
    }
)  # fmt: skip


def is_stimulus_metric(name: str) -> bool:
    """Tell whether a column is a stimulus metric, under its documented or its released name.

    Examples
    --------
    >>> is_stimulus_metric("g_osi_dg"), is_stimulus_metric("firing_rate")
    (True, False)
    """
    metric, _, stimulus = name.rpartition("_")
    return stimulus in STIMULI and metric in METRICS
