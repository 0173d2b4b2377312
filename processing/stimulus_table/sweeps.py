"""From the sweeps of each stimulus script to one table of presentations, counted in frames.

A script counts frames only while it is on. Its display sequence says when that was; sweeps are laid over these
intervals one after the other, and those that do not fit into the last are dropped. Intervals of all scripts, in order
of time, are the blocks; what lies between two blocks is spontaneous activity. (processing specification of the released
files, section 4)
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError

if TYPE_CHECKING:
    import pandas as pd

    Floats = npt.NDArray[np.float64]

#: Constants of every stimulus that say nothing about it.
DROPPED_CONSTANTS: Final = ("name", "maskParams", "win", "autoLog", "autoDraw")
#: Dimensions that swap whole images: their sweeps are numbers of images.
IMAGE_DIMENSION: Final = "ReplaceImage"
_BOOKKEEPING: Final = ("start_frame", "stop_frame", "stimulus_name", "stimulus_block", "stimulus_index")
_ARRAY: Final = re.compile(r"^array\((\[.*\])(?:,\s*dtype=\w+)?\)$", re.DOTALL)


def presentations_in_frames(stimuli: Sequence[Mapping[str, Any]], frames_of: Callable[[Any], Floats]) -> pd.DataFrame:
    """Return all presentations of a session, spontaneous activity included, in order of time.

    Parameters
    ----------
    stimuli
        One dictionary a script: ``stim_path``, ``display_sequence`` (start and stop of its intervals, s),
        ``sweep_frames`` (first and last frame of every sweep), ``sweep_order``, ``dimnames``, ``sweep_table`` and
        ``stim`` (the stimulus spelled as a call).
    frames_of
        Frame of a time of the display sequences.

    Returns
    -------
    pandas.DataFrame
        ``start_frame``, ``stop_frame`` (exclusive), ``stimulus_name`` (as the script is called), ``stimulus_block``,
        ``stimulus_index`` (NaN on spontaneous rows) and the parameters as they are named in the scripts.
    """
    import pandas as pd

    blocks: list[pd.DataFrame] = []
    for index, stimulus in enumerate(stimuli):
        sweeps = sweeps_of(stimulus, frames_of).assign(stimulus_index=float(index))
        blocks += [block for _, block in sweeps.groupby("stimulus_block", sort=True)]
    blocks.sort(key=lambda block: float(block["start_frame"].min()))
    tables, end = [], 0.0
    for number, block in enumerate(blocks):
        start = float(block["start_frame"].iloc[0])
        if start > end:
            tables.append(pd.DataFrame({"start_frame": [end], "stop_frame": [start]}))
        tables.append(block.assign(stimulus_block=float(number)))
        end = float(block["stop_frame"].iloc[-1])
    if not tables:
        msg = "no sweep of any stimulus fits into the display sequences; the pickle describes no presentation"
        raise FileFormatError(msg)
    # Columns without a value in one block must not decide the dtype of the others.
    table = pd.concat([t.astype(object) for t in tables], ignore_index=True)
    table = table.astype(dict.fromkeys((n for n in _BOOKKEEPING if n != "stimulus_name"), np.float64))
    return table.sort_values("start_frame", kind="stable", ignore_index=True)


def sweeps_of(stimulus: Mapping[str, Any], frames_of: Callable[[Any], Floats]) -> pd.DataFrame:
    """Return the sweeps of one script, its intervals numbered in ``stimulus_block``.

    Raises
    ------
    FileFormatError
        If the script lacks one of its parts.
    """
    import pandas as pd

    parts = ("stim_path", "display_sequence", "sweep_frames", "sweep_order", "dimnames", "sweep_table")
    missing = [name for name in parts if name not in stimulus]
    if missing:
        msg = f"stimulus {stimulus.get('stim_path', '(without a path)')} has no {', '.join(missing)} in the pickle"
        raise FileFormatError(msg)
    display = np.asarray(frames_of(stimulus["display_sequence"]), dtype=np.float64).reshape(-1, 2)
    frames = np.asarray([pair[:2] for pair in stimulus["sweep_frames"]], dtype=np.float64).reshape(-1, 2)
    starts, stops, segment, kept = on_display(frames[:, 0], frames[:, 1], display)
    table = pd.DataFrame(
        {
            "start_frame": starts,
            "stop_frame": stops + 1.0,  # the last frame is shown, too
            "stimulus_name": script_name(str(stimulus["stim_path"])),
            "stimulus_block": segment,
        }
    )
    order = np.asarray(list(stimulus["sweep_order"])[: len(frames)], dtype=np.int64)[
        kept[: len(stimulus["sweep_order"])]
    ]
    if len(order) < len(table):
        msg = f"stimulus {stimulus['stim_path']} shows {len(frames):,} sweeps and names only {len(order):,} of them"
        raise FileFormatError(msg)
    names = [str(name) for name in stimulus["dimnames"] or ()]
    if not names or IMAGE_DIMENSION in names:
        table["Image"] = order
    else:
        for name, values in _parameters(stimulus["sweep_table"], names).items():
            table[name] = [values[sweep] if 0 <= sweep < len(values) else np.nan for sweep in order]
    for key, value in spelled_constants(str(stimulus.get("stim", ""))).items():
        if not {key, key.capitalize(), key.upper()} & set(table.columns):
            table[key] = [value] * len(table)
    return table


def _parameters(sweep_table: Any, names: list[str]) -> dict[str, list[Any]]:
    """Return the values of each parameter, one a sweep; positions become two."""
    columns: dict[str, list[Any]] = {}
    for k, name in enumerate(names):
        values = [_plain(row[k]) for row in sweep_table]
        if name == "Pos":
            columns["Pos_x"], columns["Pos_y"] = [v[0] for v in values], [v[1] for v in values]
        else:
            columns[name] = values
    return columns


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def on_display(
    first: Floats, last: Floats, display: Floats
) -> tuple[Floats, Floats, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Lay sweeps over the intervals in which their script was on.

    Parameters
    ----------
    first, last
        First and last frame of each sweep, counted while the script was on.
    display
        (n, 2): first frame of each interval, and the one after its last, counted from the start of the session.

    Returns
    -------
    start, stop, segment
        Of the sweeps that fit: frames of the session and number of the interval.
    fits
        Which sweeps these are.
    """
    start = first + display[0, 0]
    segment = np.zeros(len(first), dtype=np.int64)
    for number in range(len(display) - 1):
        past = start >= display[number, 1]
        start[past] += display[number + 1, 0] - display[number, 1]
        segment[past] = number + 1
    stop = start + (last - first)
    fits = (stop <= display[-1, 1]) & (start <= display[-1, 1])
    return start[fits], stop[fits], segment[fits], fits


def script_name(stim_path: str) -> str:
    """Return the name of a script from its (Windows) path: the file's name, or its folder's if it has none."""
    *folders, file = stim_path.replace("/", "\\").split("\\")
    name = file.split(".")[0]
    return name or next((folder for folder in reversed(folders) if folder), "")


def spelled_constants(text: str) -> dict[str, Any]:
    """Return the arguments of a stimulus spelled as a call, such as ``GratingStim(contrast=0.8, tex='sin')``.

    Values are Python literals or arrays of them, else text. Nothing is evaluated.

    Raises
    ------
    FileFormatError
        If an argument is given twice.

    Examples
    --------
    >>> spelled_constants("GratingStim(color=array([1., 1., 1.]), contrast=0.8, name=foo)")
    {'color': [1.0, 1.0, 1.0], 'contrast': 0.8}
    """
    inside = re.match(r"^\s*\w+\((.*)\)\s*$", text, re.DOTALL)
    found: dict[str, Any] = {}
    for argument in _arguments(inside.group(1)) if inside else ():
        key, equals, value = argument.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not key.isidentifier() or key in DROPPED_CONSTANTS:
            continue
        if key in found:
            msg = f"the stimulus {text[:40]}... gives {key} twice"
            raise FileFormatError(msg)
        array = _ARRAY.match(value)
        try:
            found[key] = ast.literal_eval(array.group(1) if array else value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found


def _arguments(text: str) -> list[str]:
    """Split at commas outside of brackets and quotes."""
    parts, depth, quote, begin = [], 0, "", 0
    for position, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "([{<":
            depth += 1
        elif sign in ")]}>":
            depth -= 1
        elif sign == "," and depth == 0:
            parts.append(text[begin:position])
            begin = position + 1
    return [*parts, text[begin:]]
