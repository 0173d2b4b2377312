"""What the native sorter's estimates of its units are worth: calibrated on some recordings, tested on others.

    python benchmarks/sorting/unit_estimates.py --sort small-sim:10 small-si:20    sorts sets; a line a unit to the file
    python benchmarks/sorting/unit_estimates.py --fit                              coefficients of the calibration sets
    python benchmarks/sorting/unit_estimates.py --report                           the table of all sets

The true unit of a sorted unit is the one that it agrees with best (within 0.4 ms, among those that peak within 120 um).
`false` is the share of its spikes that are not that one's, `missed` the share of that one's spikes that it lacks. It is
a neuron if `false` is at most 0.2; else noise if most of its spikes are no true unit's, background if most of the
others are background units' (8-28 uV), and multi-unit otherwise.

Calibrated on this package's simulator (seeds from 10 on), tested on SpikeInterface's generator, whose waveforms, noise
and drift are its own (seeds from 20 on). Sets and seeds of the sorting benchmark are none of these. Each recording is
removed when it is sorted.
"""

from __future__ import annotations

import argparse
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from comparing import DELTA_MS
from datasets import RATE, ROOT, Dataset, get_dataset
from results import RESULTS

from allen_ecephys.processing.sorting.units.estimates import KINDS

FILE = RESULTS / "unit_estimates.csv"
TABLE = RESULTS / "unit_estimates.md"
NEAR_UM = 120.0
#: SD of the Gaussian that holds slopes near 0 where few units tell.
RIDGE = 5.0
#: Edges of the reliability table.
STEPS = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])


def sorted_units(data: Dataset, work: Path) -> pd.DataFrame:
    """Sort a data set; return what each unit's spikes tell, and the truth."""
    from allen_ecephys.processing.sorting.native import sort_native
    from allen_ecephys.processing.sorting.result import peak_channels
    from allen_ecephys.processing.sorting.units.evidence import unit_evidence

    result = sort_native(data.recording(), work)
    evidence = unit_evidence(
        result.samples / RATE, result.units, result.amplitudes, result.n_units, duration=data.seconds
    )
    places = result.channel_positions[peak_channels(result)]
    truth = [true_of(data, result.samples[result.units == u], place) for u, place in enumerate(places)]
    return pd.concat([evidence, pd.DataFrame(truth)], axis=1)


def true_of(data: Dataset, samples: np.ndarray, place: np.ndarray) -> dict[str, object]:
    """Return the truth of one sorted unit, from its spikes and where it peaks."""
    distance = np.hypot(*(data.geometry[data.peak_channel] - place).T)
    near = np.flatnonzero(distance <= NEAR_UM)
    hits, counts = np.zeros((len(near), len(samples)), bool), np.zeros(len(near))
    tolerance = int(DELTA_MS / 1e3 * RATE)
    for row, unit in enumerate(near):
        true = data.spike_samples[data.spike_units == unit]
        padded = np.r_[np.iinfo(np.int64).min // 2, true, np.iinfo(np.int64).max // 2]
        after = np.searchsorted(true, samples) + 1
        hits[row] = np.minimum(samples - padded[after - 1], padded[after] - samples) <= tolerance
        counts[row] = len(true)
    matched = hits.sum(axis=1)
    best = int(np.argmax(matched / np.maximum(counts + len(samples) - matched, 1)))
    background = data.background[near]
    of_background = float((hits[background].any(axis=0) & ~hits[~background].any(axis=0)).mean())
    return {
        "true_unit": int(near[best]), "true_spikes": int(counts[best]), "matched": int(matched[best]),
        "of_background": round(of_background, 3), "of_none": round(1 - float(hits.any(axis=0).mean()), 3),
    }  # fmt: skip


def add(table: pd.DataFrame, name: str, seed: int) -> None:
    """Add the units of one recording to the file, in place of those of an earlier run."""
    table = table.round(4)
    table.insert(0, "dataset", name)
    table.insert(1, "seed", seed)
    if FILE.exists():
        known = pd.read_csv(FILE)
        table = pd.concat([known[(known["dataset"] != name) | (known["seed"] != seed)], table])
    table.sort_values(["dataset", "seed"], kind="stable").to_csv(FILE, index=False)


def with_truth(units: pd.DataFrame) -> pd.DataFrame:
    """Return the units with their true shares and kind."""
    false = 1 - units["matched"] / units["n_spikes"]
    missed = 1 - units["matched"] / units["true_spikes"].clip(lower=1)
    kind = np.select(
        [false <= 0.2, units["of_none"] > 0.5, units["of_background"] > (1 - units["of_none"]) / 2],
        ["neuron", "noise", "background"],
        "multi-unit",
    )
    return units.assign(false=false, missed=missed, true_kind=kind)


def is_calibration(units: pd.DataFrame) -> pd.Series:
    """Tell which units the coefficients come from: those of this package's simulator."""
    return units["dataset"].str.endswith("-sim")


def fit(units: pd.DataFrame) -> dict[str, list[float]]:
    """Return the coefficients of :mod:`~allen_ecephys.processing.sorting.units.estimates`, by their names there.

    FALSE and MISSED are beta-binomial regressions (Williams, Biometrics 31, 949, 1975) by maximum likelihood; SEEN is
    the factor of the mean number of violations at which their negative binomial likelihood, given the true share of
    false spikes, is largest; OTHERS is a multinomial logistic regression of the kinds of those that are no neurons.
    """
    from scipy.optimize import minimize, minimize_scalar
    from scipy.special import logsumexp
    from scipy.stats import nbinom

    from allen_ecephys.processing.sorting.units.estimates import SHAPE, other_features

    spikes, expected = units["n_spikes"].to_numpy(), units["expected"].to_numpy()
    wrong = spikes - units["matched"].to_numpy()
    true = units["true_spikes"].to_numpy()
    mean = np.maximum((1 - (wrong / spikes - 1) ** 2) * expected, 1e-6)

    def of_seen(seen: float) -> float:
        return -float(nbinom.logpmf(units["violations"], SHAPE, SHAPE / (SHAPE + seen * mean)).sum())

    others = units[units["true_kind"] != "neuron"]
    features = other_features(others)
    which = others["true_kind"].map({"multi-unit": 0, "background": 1, "noise": 2}).to_numpy()

    def of_others(flat: np.ndarray) -> float:
        scores = np.column_stack([np.zeros(len(features)), features @ flat.reshape(2, -1).T])
        picked = scores[np.arange(len(which)), which]
        return float((logsumexp(scores, axis=1) - picked).sum() + 0.5 * np.square(flat).sum() / RIDGE**2)

    return {
        "FALSE": _beta_binomial(units, wrong, spikes),
        "MISSED": _beta_binomial(units, true - units["matched"].to_numpy(), true),
        "SEEN": [minimize_scalar(of_seen, bounds=(0.05, 2.0), method="bounded").x],
        "OTHERS": minimize(of_others, np.zeros(2 * features.shape[1])).x.tolist(),
    }


def _beta_binomial(units: pd.DataFrame, k: np.ndarray, n: np.ndarray) -> list[float]:
    from scipy.optimize import minimize
    from scipy.special import betaln

    from allen_ecephys.processing.sorting.units.estimates import Shares

    def loss(p: np.ndarray) -> float:
        a, b = Shares(*p[:3], np.exp(p[3])).beta(units)
        return -float((betaln(k + a, n - k + b) - betaln(a, b)).sum()) + 0.5 * np.square(p[1:3]).sum() / RIDGE**2

    found = minimize(loss, np.array([-2.0, -1.0, 0.0, 0.5])).x
    return [*found[:3].tolist(), float(np.exp(found[3]))]


def report(units: pd.DataFrame) -> str:
    """Return the table: coverage of the intervals, Brier score and reliability, by set."""
    from allen_ecephys.processing.sorting.units.estimates import estimates_from

    table = pd.concat([units.reset_index(drop=True), estimates_from(units.reset_index(drop=True))], axis=1)
    whole = {"calibrated on": table[is_calibration(table)], "tested on": table[~is_calibration(table)]}
    lines = [HEAD, *_RULE]
    for role, part in whole.items():
        for (name, seed), one in part.groupby(["dataset", "seed"]):
            lines.append(_row(f"{name} {seed}", one))
        lines.append(_row(f"**{role}: all**", part))
    lines += [
        "",
        "## Reliability of `p_neuron`",
        "",
        "| `p_neuron` | calibrated on: units | neurons | tested on: units | neurons |",
    ]
    lines.append("|---|---|---|---|---|")
    for low, high in pairwise(STEPS):
        cells = []
        for part in whole.values():
            chosen = part[(part["p_neuron"] >= low) & ((part["p_neuron"] < high) | (high == 1))]
            share = f"{(chosen['true_kind'] == 'neuron').mean():.2f}" if len(chosen) else ""
            cells.append(f"{len(chosen)} | {share}")
        lines.append(f"| {low:.1f} to {high:.1f} | {' | '.join(cells)} |")
    lines += ["", "## Kinds: what units are (rows) and what they are called", "", f"| | {' | '.join(KINDS)} |"]
    lines.append("|---|---|---|---|---|")
    for role, part in whole.items():
        for kind in KINDS:
            mine = part[part["true_kind"] == kind]
            lines.append(f"| {role}: {kind} | {' | '.join(str(int((mine['kind'] == k).sum())) for k in KINDS)} |")
    return "\n".join([*lines, ""])


HEAD = """# What the estimates of units are worth

`python benchmarks/sorting/unit_estimates.py` makes these numbers, and says what is true of a unit. Inside: share of
units whose true share of false (missed) spikes lies in the 90 % interval; width: median width of these intervals. Brier
score of `p_neuron` (0 is perfect; in brackets that of saying of each unit the share of neurons among all).

## By set
"""
_RULE = (
    "| set, seed | units | neurons | false: inside | width | missed: inside | width | Brier score |",
    "|---" * 8 + "|",
)


def _row(name: str, units: pd.DataFrame) -> str:
    cells = [name, str(len(units)), str(int((units["true_kind"] == "neuron").sum()))]
    for share in ("false", "missed"):
        low, high, true = units[f"{share}_low"], units[f"{share}_high"], units[share].round(3)
        cells += [f"{((true >= low) & (true <= high)).mean():.2f}", f"{(high - low).median():.2f}"]
    is_neuron = units["true_kind"] == "neuron"
    score = np.square(units["p_neuron"] - is_neuron).mean()
    return f"| {' | '.join([*cells, f'{score:.3f} ({is_neuron.mean() * (1 - is_neuron.mean()):.3f})'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sort", nargs="+", default=[], metavar="SET:SEED")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    for name, seed in (spec.split(":") for spec in arguments.sort):
        data, work = get_dataset(name, int(seed)), ROOT / "unit-estimates"
        add(sorted_units(data, work), name, int(seed))
        shutil.rmtree(work)
        shutil.rmtree(data.folder)
    units = with_truth(pd.read_csv(FILE))
    if arguments.fit:
        for name, values in fit(units[is_calibration(units)]).items():
            print(name, [round(float(value), 3) for value in values])
    if arguments.report:
        TABLE.write_text(report(units))


if __name__ == "__main__":
    main()
