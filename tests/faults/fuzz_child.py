"""Reads damaged files in a process of its own, so that a crash or an endless loop is one more way to end.

    python fuzz_child.py KIND FOLDER SEED FIRST LAST

Prints a line of JSON when a case begins and when it ends.
"""

from __future__ import annotations

import json
import logging
import random
import resource
import shutil
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

sys.path.insert(0, str(Path(__file__).parent))

import fuzz_nwb
import fuzz_recordings
import small_nwb
from fuzzing import Tally

#: Address space of a case: what it may take besides the libraries.
MEMORY = 8 << 30

Reads = dict[str, Callable[[], Any]]

#: What writes a file or folder, what damages a copy of it, and what reads it.
KINDS: dict[str, tuple[Callable[[Path], Any], Callable[[Path, Path, random.Random], str], Callable[[Path], Reads]]] = {
    "session": (small_nwb.write_small_session, fuzz_nwb.damaged, fuzz_nwb.session_reads),
    "lfp": (small_nwb.write_small_lfp, fuzz_nwb.damaged, fuzz_nwb.lfp_reads),
    "phy": (fuzz_recordings.write_phy, fuzz_recordings.damaged, fuzz_recordings.phy_reads),
    "spikeglx": (fuzz_recordings.write_spikeglx, fuzz_recordings.damaged, fuzz_recordings.raw_reads),
    "open ephys": (fuzz_recordings.write_open_ephys, fuzz_recordings.damaged, fuzz_recordings.raw_reads),
}


def equal(one: Any, other: Any) -> bool:
    """Tell whether two answers are the same, types included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and one != one:
        return bool(other != other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, xr.DataArray):
        return bool(one.identical(other))
    return bool(one.equals(other)) if hasattr(one, "equals") else bool(one == other)


def say(what: dict[str, Any]) -> None:
    """Tell the parent, at once."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(kind: str, folder: Path, seed: int, first: int, last: int) -> None:
    """Run cases `first` to `last` (excluded)."""
    write, damage, reads = KINDS[kind]
    intact, target = folder / "intact", folder / "damaged"
    if intact.is_dir():
        shutil.rmtree(intact)
    write(intact)
    right = {name: read() for name, read in reads(intact).items()}
    again = {name: read() for name, read in reads(intact).items()}
    assert equal(again, right), "an undamaged file does not read as itself"
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for case in range(first, last):
        say({"case": case})
        if target.is_dir():
            shutil.rmtree(target)
        what = damage(intact, target, random.Random(f"{kind} {seed} {case}"))
        tally = Tally()
        for name, read in reads(target).items():
            tally.judge(f"{kind} {seed} {case}, {what}: {name}", read, partial(equal, right[name]))
        outcome = next(key for key in ("other", "altered", "named", "same") if tally.counts[key])
        say({"case": case, "what": what, "outcome": outcome, "others": tally.others})


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
