"""A probe's clock as a figure: its offset against the session's, how far events lie from the line, gaps."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

import numpy as np

from allen_ecephys.errors import missing_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .probe_clock import ProbeClock

#: Characters in a line of the title.
TITLE_WIDTH: Final = 100


def plot_clock(clock: ProbeClock) -> Figure:
    """Draw a probe's clock.

    Above: how far the session's clock is ahead of the probe's nominal one, less the offset at the first event (ms).
    Below: how far each event lies from its segment's straight line (us). Outliers are red crosses at the upper edge,
    events that the session saw and the probe did not grey ticks at the lower one, gaps are grey.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_clock(fit_clock([0, 30_001, 60_002], [1.0, 2.0, 3.0], 30_000))
    >>> len(figure.axes) > 0
    True
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        library, purpose = "matplotlib", "drawing a clock"
        raise missing_extra(library, "plot", purpose) from error
    figure = Figure(figsize=(7, 5), layout="constrained")
    offset_axes, residual_axes = figure.subplots(2, 1, sharex=True)
    used = ~clock.outlier
    seconds = clock.matched_seconds
    ahead = (seconds - clock.matched_samples / clock.nominal_rate) * 1e3
    offset_axes.plot(seconds[used], ahead[used] - ahead[used][0], ".-", ms=4, lw=0.8)
    offset_axes.set_ylabel("offset - first (ms)")
    lines = (line.strip() for line in clock.summary().splitlines())
    offset_axes.set_title("\n".join(textwrap.fill(line, TITLE_WIDTH) for line in lines), fontsize=7, loc="left")
    residual_axes.plot(seconds[used], clock.residuals()[used] * 1e6, ".", ms=4)
    residual_axes.axhline(0.0, color="0.7", lw=0.8)
    residual_axes.set(xlabel="session time (s)", ylabel="from the line (us)")
    for axes in (offset_axes, residual_axes):
        for before, after in zip(clock.segments, clock.segments[1:], strict=False):
            axes.axvspan(float(before.seconds[-1]), float(after.seconds[0]), color="0.9")
        low = np.full(len(clock.unmatched_seconds), 0.02)
        axes.plot(clock.unmatched_seconds, low, "|", color="0.5", transform=axes.get_xaxis_transform())
        if clock.outlier.any():
            top = axes.get_ylim()[1]
            axes.plot(seconds[clock.outlier], np.full(int(clock.outlier.sum()), top), "rx", clip_on=False)
    return figure
