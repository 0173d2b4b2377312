"""The optotagging table: when which light was on, from the light's line and the pickle of its computer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import MissingDataError, SynchronizationError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

#: Code -> name, duration (s) and description of the lights of the release.
LIGHTS: Final[Mapping[str, tuple[str, float, str]]] = {
    "0": ("fast_pulses", 1.0, "2.5 ms pulses at 10 Hz"),
    "1": ("pulse", 0.005, "a single square pulse"),
    "2": ("pulse", 0.01, "a single square pulse"),
    "3": ("raised_cosine", 1.0, "half-period of a cosine wave"),
}


def optotagging_table(light_times: npt.ArrayLike, contents: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a light.

    Parameters
    ----------
    light_times
        Rising edges of the light's line (s).
    contents
        Of the light's pickle: ``opto_conditions`` (codes of :data:`LIGHTS`) and ``opto_levels`` (V), in order.

    Returns
    -------
    pandas.DataFrame
        ``start_time``, ``stop_time`` (s), ``condition``, ``level`` (V), ``stimulus_name``, ``duration`` (s).

    Raises
    ------
    MissingDataError, UnknownNameError
        If the pickle lacks conditions or levels, or has a code that no light has.
    SynchronizationError
        If lights and conditions differ in number.
    """
    import pandas as pd

    for name in ("opto_conditions", "opto_levels"):
        if name not in contents:
            msg = f"the light's pickle has no {name} (it has {', '.join(map(str, contents)) or 'nothing'})"
            raise MissingDataError(msg)
    starts = np.sort(np.asarray(light_times, dtype=np.float64))
    codes = [str(code) for code in contents["opto_conditions"]]
    levels = np.asarray(contents["opto_levels"], dtype=np.float64).view(np.ndarray)
    if not len(starts) == len(codes) == len(levels):
        msg = (
            f"the light's line went up {len(starts)} times, and its pickle has {len(codes)} conditions and "
            f"{len(levels)} levels; it cannot be said which light was which"
        )
        raise SynchronizationError(msg)
    unknown = sorted(set(codes) - set(LIGHTS))
    if unknown:
        msg = f"the light's pickle has the conditions {', '.join(unknown)}; known are {', '.join(LIGHTS)}"
        raise UnknownNameError(msg)
    lights = [LIGHTS[code] for code in codes]
    duration = np.array([light[1] for light in lights], dtype=np.float64)
    return pd.DataFrame(
        {
            "start_time": starts,
            "stop_time": starts + duration,
            "condition": [light[2] for light in lights],
            "level": levels,
            "stimulus_name": [light[0] for light in lights],
            "duration": duration,
        }
    )
