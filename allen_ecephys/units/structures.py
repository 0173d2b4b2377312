"""Brain structures: acronyms as the session tables show them, and their ids in the Allen ontology.

NWB files name a channel's structure by its acronym only. The ids are those of the Allen Mouse Brain Common Coordinate
Framework (CCF v3, structure graph 1, http://atlas.brain-map.org); listed are the structures in which the release has
channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..ids import as_ids
from .filter import OUT_OF_BRAIN

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

STRUCTURE_IDS = {
    # isocortex
    "VIS": 669,
    "VISal": 402,
    "VISam": 394,
    "VISl": 409,
    "VISli": 312782574,
    "VISmma": 480149258,
    "VISmmp": 480149286,
    "VISp": 385,
    "VISpm": 533,
    "VISrl": 417,
    # hippocampal formation
    "CA": 375,
    "CA1": 382,
    "CA2": 423,
    "CA3": 463,
    "DG": 726,
    "HPF": 1089,
    "POST": 1037,
    "PRE": 1084,
    "ProS": 484682470,
    "SUB": 502,
    # olfactory areas, cortical subplate, striatum
    "BMAa": 327,
    "COAa": 639,
    "COApm": 663,
    "CP": 672,
    "OLF": 698,
    # thalamus
    "Eth": 560581551,
    "IGL": 27,
    "IntG": 563807439,
    "LD": 155,
    "LGd": 170,
    "LGv": 178,
    "LP": 218,
    "MGd": 1072,
    "MGm": 1088,
    "MGv": 1079,
    "PF": 930,
    "PIL": 560581563,
    "PO": 1020,
    "POL": 1029,
    "PP": 1044,
    "PoT": 563807435,
    "RT": 262,
    "SGN": 325,
    "TH": 549,
    "VL": 81,
    "VPL": 718,
    "VPM": 733,
    # hypothalamus
    "ZI": 797,
    # midbrain
    "APN": 215,
    "LT": 66,
    "MB": 313,
    "MRN": 128,
    "NOT": 628,
    "OP": 706,
    "PPT": 1061,
    "RPF": 549009203,
    "SCig": 10,
    "SCiw": 17,
    "SCop": 851,
    "SCsg": 842,
    "SCzo": 834,
    # not further resolved
    "grey": 8,
}


def without_substructure(acronyms: pd.Series[Any]) -> pd.Series[Any]:
    """Return acronyms up to their first hyphen (``LGd-sh`` -> ``LGd``); outside the brain they are missing (NaN)."""
    names = {name: _stripped(name) for name in acronyms.unique()}
    return pd.Series([names[name] for name in acronyms], index=acronyms.index, dtype=str)


def _stripped(name: Any) -> str | None:
    if not isinstance(name, str) or name in OUT_OF_BRAIN:
        return None
    return name.split("-")[0] or None


def structure_ids(acronyms: pd.Series[Any]) -> pd.Series[Any]:
    """Return the ontology id of each acronym (Int64), missing where there is none or it is not listed."""
    ids: pd.Series[Any] = pd.Series(
        pd.array([STRUCTURE_IDS.get(name) for name in acronyms], dtype="Int64"), index=acronyms.index, copy=False
    )
    return ids


def structure_intervals(
    channels: pd.DataFrame, channel_ids: ArrayLike
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, np.dtype[np.int64]], int]:
    """Return runs of equal structure along channels in the given order, and how many probes the channels are of.

    Returns
    -------
    labels
        Acronym of each run (object; NaN outside the brain).
    intervals
        Int64, one longer than `labels`: where each run begins, and the number of channels.
    n_probes
    """
    ids = as_ids(channel_ids, channels, "channel")
    chosen = channels.loc[ids]
    acronym = chosen["ecephys_structure_acronym"].to_numpy(dtype=object, na_value=np.nan)
    codes = pd.factorize(acronym)[0]  # a missing structure gets the same code everywhere
    begins = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1]))) if len(ids) else np.empty(0, np.int64)
    intervals = np.concatenate((begins, [len(ids)])).astype(np.int64)
    return acronym[begins], intervals, int(chosen["probe_id"].nunique())
