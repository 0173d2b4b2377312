"""What a unit probably is, and how many of its spikes are false or missing, each with an interval.

The share C of a unit's spikes that are not its neuron's has a beta distribution before spike times are looked at, whose
mean follows from the size of its amplitudes and the share that is cut (beta-binomial regression: Williams, Biometrics
31, 949, 1975).
Violations of the refractory period weigh it: with N spikes in D seconds, of which a share C is many other Poisson
neurons', ``(1 - (1 - C)^2) N^2 (threshold - min_isi) / D`` intervals are too short in the mean (Llobet et al., bioRxiv
2022.02.08.479192; Hill et al., J. Neurosci. 31, 2011). Where that number is small they say little and the size of the
spikes decides; in an hour of a neuron that fires they decide alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from allen_ecephys.nwb import layout

from .evidence import unit_evidence

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: Columns of :func:`estimate_units`.
ESTIMATES: Final = tuple(column.name for column in layout.ESTIMATE_COLUMNS)
#: Kinds, in the order of their probabilities.
KINDS: Final = ("neuron", "multi-unit", "background", "noise")
#: A unit is one neuron's with no more false spikes than this: it can be found with an accuracy of 0.8.
MOST_FALSE: Final = 0.2
#: Tails that an interval leaves out.
LOW, HIGH = 0.05, 0.95
#: Cells that C is divided into.
CELLS: Final = 400
#: Contaminating neurons are not Poisson processes of one rate: the mean number of violations is known up to a factor
#: of variance 1 / 3 (negative binomial counts of shape 3).
SHAPE: Final = 3.0


@dataclass(frozen=True)
class Shares:
    """Coefficients of a share's beta distribution, on the logit of its mean.

    Attributes
    ----------
    intercept
        Of a unit of size 15 SDs of the noise and cut 0.1.
    log_size, cut
        Slopes on the logarithm of the size, and on the cut, of :func:`.evidence.unit_evidence`.
    concentration
        Sum of the distribution's two parameters.
    """

    intercept: float
    log_size: float
    cut: float
    concentration: float

    def beta(self, evidence: pd.DataFrame) -> tuple[Floats, Floats]:
        """Return both parameters of each unit's distribution."""
        from scipy.special import expit

        size = np.log(np.maximum(evidence["size"].to_numpy(np.float64), 1.0) / 15.0)
        cut = evidence["cut"].to_numpy(np.float64)
        mean = np.clip(expit(self.intercept + self.log_size * size + self.cut * (cut - 0.1)), 1e-4, 1 - 1e-4)
        return mean * self.concentration, (1 - mean) * self.concentration


#: Fitted by ``benchmarks/sorting/unit_estimates.py --fit`` to the 195 units found in small-sim, seeds 10 to 12,
#: colour-sim 10 and 11, and medium-sim 10 (20 to 80 neurons and twice as many of background, 60 and 120 s).
FALSE: Final = Shares(-2.811, -1.236, 5.443, 3.225)
MISSED: Final = Shares(-1.723, -0.89, 4.509, 2.576)
#: Share of violations that are seen: of two spikes of one shape that overlap the sorter often finds one.
SEEN: Final = 0.622
#: Of units that are no neurons: log odds of background and of noise against multi-unit, on :func:`other_features`.
OTHERS: Final = ((-0.454, -6.451, -2.252), (-0.307, 0.361, -5.173))


def estimate_units(
    times_s: ArrayLike, unit: ArrayLike, amplitudes: ArrayLike, n_units: int, *, duration: float
) -> pd.DataFrame:
    """Return what each unit probably is, and its shares of false and missed spikes with 90 % intervals.

    Parameters
    ----------
    times_s
        (n_spikes,) ascending spike times, s.
    unit
        (n_spikes,) unit of each spike, 0..n_units - 1.
    amplitudes
        (n_spikes,) projection of each spike on its unit's template of norm 1, SDs of the noise.
    n_units
        Number of units.
    duration
        Of the recording, s.

    Returns
    -------
    pandas.DataFrame
        One row a unit, with the columns :data:`~allen_ecephys.nwb.layout.ESTIMATE_COLUMNS`: `kind` is text, the others
        float64. Units without spikes have an empty kind and NaN.

    Raises
    ------
    SpikeTrainError
        If spikes, units and amplitudes do not fit together, or are not finite.
    """
    return estimates_from(unit_evidence(times_s, unit, amplitudes, n_units, duration=duration))


def estimates_from(evidence: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`estimate_units` from what :func:`.evidence.unit_evidence` returns."""
    import pandas as pd
    from scipy.special import betaincinv

    shares, mass = false_share_distribution(evidence)
    below = np.cumsum(mass, axis=1)
    p_neuron = mass[:, shares <= MOST_FALSE].sum(axis=1)
    probabilities = np.column_stack([p_neuron, (1 - p_neuron)[:, None] * kinds_of_others(evidence)])
    a, b = MISSED.beta(evidence)
    columns: dict[str, Any] = {"kind": np.array(KINDS)[probabilities.argmax(axis=1)]}
    columns |= dict(zip(ESTIMATES[1:], probabilities.T, strict=False))
    for name, level in (("share", 0.5), ("low", LOW), ("high", HIGH)):
        columns[f"false_{name}"] = shares[np.minimum((below < level).sum(axis=1), CELLS)]
        columns[f"missed_{name}"] = betaincinv(a, b, level)
    table = pd.DataFrame(columns)[[*ESTIMATES]].round(3)
    silent = evidence["n_spikes"].to_numpy() == 0
    table.loc[silent, [*ESTIMATES[1:]]] = np.nan
    table.loc[silent, "kind"] = ""
    return table


def false_share_distribution(evidence: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return shares C, (CELLS + 1,), and their probabilities for each unit, (n_units, CELLS + 1)."""
    from scipy.special import betainc
    from scipy.stats import nbinom

    shares = np.linspace(0.0, 1.0, CELLS + 1)
    edges = np.r_[0.0, (shares[1:] + shares[:-1]) / 2, 1.0]
    middles = (edges[1:] + edges[:-1]) / 2
    a, b = FALSE.beta(evidence)
    prior = np.diff(betainc(a[:, None], b[:, None], edges), axis=1)
    mean = SEEN * (1 - (1 - middles) ** 2) * evidence["expected"].to_numpy(np.float64)[:, None]
    violations = evidence["violations"].to_numpy(np.float64)[:, None]
    # In logarithms: of thousands of violations each probability is tiny.
    weight = nbinom.logpmf(violations, SHAPE, SHAPE / (SHAPE + mean))
    mass = prior * np.exp(weight - weight.max(axis=1, keepdims=True))
    return shares, mass / mass.sum(axis=1, keepdims=True)


def other_features(evidence: pd.DataFrame) -> Floats:
    """Return what tells the kinds of units that are no neurons: 1, size and spread, (n_units, 3)."""
    size = np.log(np.maximum(evidence["size"].to_numpy(np.float64), 1.0) / 7.0)
    return np.column_stack([np.ones(len(size)), size, evidence["spread"].to_numpy(np.float64) - 0.2])


def kinds_of_others(evidence: pd.DataFrame) -> Floats:
    """Return the probabilities of multi-unit, background and noise of units that are no neurons, (n_units, 3)."""
    from scipy.special import softmax

    scores = other_features(evidence) @ np.array(OTHERS).T
    return np.asarray(softmax(np.column_stack([np.zeros(len(scores)), scores]), axis=1))
