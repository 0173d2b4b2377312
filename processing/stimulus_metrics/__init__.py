"""How single units respond to each stimulus: the published metric table, computed from any session.

>>> from allen_ecephys.processing.stimulus_metrics import compute_unit_analysis_metrics
>>> table = compute_unit_analysis_metrics(session)  # doctest: +SKIP

Columns end in the stimulus they are about: ``dg`` drifting gratings, ``sg`` static gratings, ``ns`` natural scenes,
``dm`` dot motion, ``fl`` full-field flashes, ``rf`` gabors, ``nm1`` and ``nm3`` natural movies one and three.

There are three definitions. ``"release"`` gives the published numbers, defects included; ``"allensdk"`` what AllenSDK
2.16 computes from the same file; ``"corrected"`` mends these:

======================================  ======================================  ======================================
what                                    ``"release"``                           ``"corrected"``
======================================  ======================================  ======================================
count windows (all columns)             three: (start, stop] for condition      one: [start, stop), half-open
                                        means, [start, start + T] for trial
                                        counts, 1 ms bins up to T - 1 ms,
                                        closed at both ends
silent units                            prefer the first value, peak at 0.5     NaN
                                        ms, ``mod_idx_dg`` and
                                        ``image_selectivity_ns`` are 0
ties                                    preferred value: the smallest;          preferred value: the smallest (equal
                                        preferred condition: the one shown      up to rounding); preferred condition:
                                        first                                   first in the order of its parameters
``fano_*``, ``fano_factor_*``           population variance; 0 for one trial    sample variance; NaN for one trial
``lifetime_sparseness_*``               of summed counts, which unequal         of mean counts
                                        repeats bias upward
``run_mod_*``, ``p_run_mod_*``          trials without a measured speed are     they are left out; three trials of
                                        stationary; two trials of each kind     each kind; p is NaN if counts do not
                                        suffice; p may be 0                     vary, never 0
``firing_rate_fl``                      only while a flash is on (a gap of      over the whole block; no stretch goes
                                        more than 2 T ends a stretch)           on across invalid presentations
``f1_f0_dg``                            at 0.50, 1.50, 3.51, 7.52, 14.7 Hz      at the grating's frequency
                                        for 1, 2, 4, 8, 15 Hz
``mod_idx_dg``                          at the next of bins 0.98 Hz apart,      at the grating's frequency, from the
                                        last 463 ms unused                      whole presentation
``g_osi_dg`` (Functional Connectivity)  NaN for every unit                      at the higher contrast
``g_dsi_dg``                            NaN in Functional Connectivity          NaN only where no two directions are
                                                                                opposite
``c50_dg``                              unbounded fit on a grid of 256          bounded fit; direction modulo 180
                                        contrasts; NaN for units that prefer    degrees; NaN for responses that do not
                                        180 degrees or more; spurious for       rise with contrast
                                        responses that do not vary
``pref_image_ns``                       a stimulus condition id                 the index of the image, as
                                                                                ``pref_image_index_ns`` in both
dot motion                              a blank counts as a condition           blanks are left out
``area_rf``, ``azimuth_rf``,            map of spike counts smoothed in         map of mean responses smoothed in
``elevation_rf``                        integers, which drops fractions twice   floating point
``width_rf``, ``height_rf``             fit without baseline, started with      fit with baseline; NaN unless it
                                        rows and columns exchanged; any value   converged on the map; ``width`` is
                                        wherever it ended; ``width`` is the     horizontal
                                        deviation along rows (vertical)
presentations marked invalid            counted                                 left out
``on_screen_rf``                        centre within 0 to 9 pixels             centre within 0 to 8 pixels
``p_value_rf``                          drawn with replacement; may be 0        permutations; at least
                                                                                1 / (1 + shuffles)
======================================  ======================================  ======================================

Columns that the release does not have are the same in both: ``pref_image_index_ns`` and those of natural movies.

``"allensdk"`` is ``"release"`` but for three things: the fit starts where the map is and ``width_rf`` is horizontal
(the published files were made before that correction of April 2023), the region of a receptive field ends half a
standard deviation below the maximum, not one (`rf_mask_threshold`), and presentations in invalid times are left out.
On the 4,547 real units whose gabor counts are known exactly, least squares (MINPACK) started so give the published
``width_rf`` and ``height_rf`` for 82 % to 1e-3 and for 93 % to 1e-2, ``on_screen_rf`` for 99.6 %, and every missing
value. ``on_off_ratio_fl`` is missing in every published row seen.
"""

from __future__ import annotations

from . import dot_motion, drifting_gratings, flashes, gabors, natural_movies, natural_scenes, static_gratings  # noqa: F401 - each registers its metrics
from .compute import Names, compute_for_sessions, compute_unit_analysis_metrics, with_release_names
from .receptive_field import ReceptiveField, receptive_field
from .registry import Metric, metric, metric_columns, registered_metrics, remove_metric
from .responses import Definition, SessionResponses, StimulusResponses
from .tuning_curves import plot_tuning_curve, tuning_curves

__all__ = [
    "Definition",
    "Metric",
    "Names",
    "ReceptiveField",
    "SessionResponses",
    "StimulusResponses",
    "compute_for_sessions",
    "compute_unit_analysis_metrics",
    "metric",
    "metric_columns",
    "plot_tuning_curve",
    "receptive_field",
    "registered_metrics",
    "remove_metric",
    "tuning_curves",
    "with_release_names",
]
