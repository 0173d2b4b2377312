"""The session as a whole: which stimulus was shown when, behind or above what else went on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..stimulus.names import NO_STIMULI
from .canvas import COLORS, INK, MARK, SHOWN, axes_or_new

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def plot_session_timeline(
    epochs: pd.DataFrame, ax: Axes | None = None, *, invalid_times: pd.DataFrame | None = None
) -> Axes:
    """Draw when each stimulus was shown, a row for each, the first shown on top.

    Parameters
    ----------
    epochs
        ``session.get_stimulus_epochs()``.
    ax
        Where to draw; default a new figure.
    invalid_times
        ``session.invalid_times``: marked across all rows.

    Examples
    --------
    >>> ax = plot_session_timeline(session.get_stimulus_epochs(), invalid_times=session.invalid_times)
    >>> ax.get_xlabel()
    'time (s)'
    """
    names = list(dict.fromkeys(epochs["stimulus_name"].astype(str)))
    ax = axes_or_new(ax)
    for row, name in enumerate(names):
        here = epochs[epochs["stimulus_name"].astype(str) == name]
        spans = list(zip(here["start_time"], here["stop_time"] - here["start_time"], strict=True))
        # Invalid presentations lie in invalid intervals, whose marks would cover them.
        look = {"color": INK, "zorder": 3} if name in NO_STIMULI else {"color": SHOWN}
        ax.broken_barh(spans, (row - 0.4, 0.8), linewidth=0.6, **look)  # seconds show too
    if invalid_times is not None and len(invalid_times):
        for start, stop in zip(invalid_times["start_time"], invalid_times["stop_time"], strict=True):
            ax.axvspan(start, stop, color=MARK, linewidth=1)
        n = len(invalid_times)
        ax.set_title(f"orange: {n} interval{'s' * (n != 1)} marked as invalid", fontsize=7, loc="right")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(max(len(names), 1) - 0.5, -0.5)
    ax.set_xlabel("time (s)")
    return ax


def plot_stimulus_blocks(epochs: pd.DataFrame, ax: Axes) -> Axes:
    """Shade, behind what is drawn over the session, the blocks of each stimulus, and name them in a legend.

    Parameters
    ----------
    epochs
        ``session.get_stimulus_epochs()``.
    ax
        Axes with seconds along x, such as those of :func:`plot_running_speed` and :func:`plot_pupil`.

    Examples
    --------
    >>> ax = plot_running_speed(session.running_speed)
    >>> ax = plot_stimulus_blocks(session.get_stimulus_epochs(), ax)
    >>> ax.get_xlabel()
    'time (s)'
    """
    names = [n for n in dict.fromkeys(epochs["stimulus_name"].astype(str)) if n not in NO_STIMULI]
    for place, name in enumerate(names):
        here = epochs[epochs["stimulus_name"].astype(str) == name]
        hatch = "" if place < len(COLORS) else "//"
        for number, (start, stop) in enumerate(zip(here["start_time"], here["stop_time"], strict=True)):
            ax.axvspan(
                start, stop, facecolor=COLORS[place % len(COLORS)], alpha=0.2, linewidth=0, hatch=hatch, zorder=-1,
                label=name if number == 0 else None,
            )  # fmt: skip
    if names:
        ax.legend(
            fontsize="x-small", frameon=False, ncols=int(np.clip(len(names), 1, 4)), loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
        )  # fmt: skip
    return ax
