"""How tissue moves along a probe over hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import explains_unknown_names

Float64 = npt.NDArray[np.float64]


@explains_unknown_names
@dataclass(frozen=True)
class Movement:
    """Settling after insertion, a slow wander, and jumps, in um (positive: towards the surface).

    Attributes
    ----------
    settling_um, settling_seconds
        The tissue relaxes by so much, exponentially with this time constant.
    wander_um, wander_seconds
        Half the range and the period of a slow wander.
    jumps
        (second, um) of sudden movements that stay.
    stretch
        How unevenly the tissue moves: at the probe's tip by `1 - stretch`, at its top by `1 + stretch` times as much.
    """

    settling_um: float = 20.0
    settling_seconds: float = 400.0
    wander_um: float = 6.0
    wander_seconds: float = 900.0
    jumps: tuple[tuple[float, float], ...] = ()
    stretch: float = 0.2

    @classmethod
    def still(cls) -> Movement:
        """Return no movement at all."""
        return cls(settling_um=0.0, wander_um=0.0)

    def displacement(self, seconds: Float64, height: float | Float64 = 0.5) -> Float64:
        """Return the displacement in um at these times, and at this height along the probe (0 tip, 1 top)."""
        moved = self.settling_um * (1.0 - np.exp(-np.asarray(seconds) / self.settling_seconds))
        moved = moved + self.wander_um * np.sin(2 * np.pi * np.asarray(seconds) / self.wander_seconds)
        for second, um in self.jumps:
            moved = moved + um * (np.asarray(seconds) >= second)
        return np.asarray(moved * (1.0 + self.stretch * (2.0 * np.asarray(height) - 1.0)))

    @property
    def reach(self) -> float:
        """Largest displacement that can occur, um."""
        jumps = sum(abs(um) for _, um in self.jumps)
        return (abs(self.settling_um) + abs(self.wander_um) + jumps) * (1.0 + abs(self.stretch))
