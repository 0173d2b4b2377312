"""Learning templates: running averages over the spikes they explain, births from what they leave, triage.

As in Kilosort 2 (``learnAndSolve8b``): a template forgets by a factor per spike; one that finds fewer spikes than
`minFR` dies, and so does the rarer one of two that look alike. Unlike there, births are clusters of unexplained spikes,
not single ones, and the recording is registered for drift before, so batches are visited in the order of time.
"""

from __future__ import annotations

import logging
from typing import Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.progress import progress_bar

from ..parameters import SortingParameters
from .initial_templates import cluster_peaks
from .remnants import find_remnants, summed
from .searching import Found, Searcher
from .template_bank import TemplateBank

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Spikes = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]

#: Two templates may be one if they correlate more than this, at any lag...
TWIN_SIMILARITY: Final = 0.9
#: ...and are if what tells the smaller from the larger is this small: as a share of its size, or in noise SDs.
TWIN_SHARE: Final = 0.15
TWIN_NORM: Final = 4.0
#: Where the tissue moves, what registration cannot undo makes one unit look different at different times: more is a
#: twin then, and a template remembers no more than this many spikes.
DRIFTING_TWIN_SHARE: Final = 0.3
DRIFTING_MEMORY: Final = 30.0
#: A template of two spikes at once leaves no more than this, of its energy or in noise variances, without them.
COMPOSITE_SHARE: Final = 0.3
COMPOSITE_ENERGY: Final = 25.0
#: What is seen at more than this share of the rarer one's spikes is taken for a neuron, not for two at once: by chance
#: a train shares 2.3 % of its spikes with one of 100 Hz within 7 samples.
COMPOSITE_RATE: Final = 0.1


def momentum(searcher: Searcher, parameters: SortingParameters) -> tuple[float, float]:
    """Return how many spikes templates remember, at the beginning and at the end."""
    first, last = parameters.momentum
    if searcher.recording.drift.is_negligible:
        return first, last
    return min(first, DRIFTING_MEMORY), min(last, DRIFTING_MEMORY)


def twin_share(searcher: Searcher) -> float:
    """Return up to which difference, as a share of their size, two templates are one."""
    return TWIN_SHARE if searcher.recording.drift.is_negligible else DRIFTING_TWIN_SHARE


def forgetting(spikes: tuple[float, float], n_batches: int) -> Floats:
    """Return the factor per spike by which templates remember, batch by batch: ``exp(-1/20)`` to ``exp(-1/400)``."""
    return np.exp(-1.0 / np.linspace(*spikes, n_batches))


def updated(bank: TemplateBank, found: Found, memory: float, threshold: float) -> tuple[TemplateBank, Floats]:
    """Move templates towards the mean of the spikes they explain well; also return how many those were.

    With `n` spikes of mean ``M``: ``T <- memory^n T + (1 - memory^n) M``.
    """
    strong = found.explained > threshold
    counts = np.bincount(found.template[strong], minlength=len(bank)).astype(np.float64)
    sums = np.zeros(bank.weights.shape)
    # Sorted by template so that sums are those of consecutive rows.
    rows = np.flatnonzero(strong)[np.argsort(found.template[strong], kind="stable")]
    if len(rows):
        first = np.flatnonzero(np.r_[True, np.diff(found.template[rows]) > 0])
        sums[found.template[rows[first]]] = np.add.reduceat(found.weights[rows], first, axis=0, dtype=np.float64)
    kept = (memory**counts)[:, None, None]
    means = sums / np.maximum(counts, 1.0)[:, None, None]
    weights = (kept * bank.weights + (1.0 - kept) * means).astype(np.float32)
    return TemplateBank(bank.layout, bank.basis, bank.main, weights), counts


def alike(bank: TemplateBank, share: float = TWIN_SHARE) -> npt.NDArray[np.bool_]:
    """Tell which pairs of templates have one shape, bool (n, n), false on the diagonal."""
    similarity, _ = bank.similarity()
    smaller = np.minimum.outer(bank.norms, bank.norms)
    difference = np.sqrt(np.maximum(1.0 - similarity.astype(np.float64) ** 2, 0.0))
    same = (similarity > TWIN_SIMILARITY) & ((difference < share) | (difference * smaller < TWIN_NORM))
    np.fill_diagonal(same, val=False)
    return same


def without_twins(bank: TemplateBank, counts: Floats, share: float = TWIN_SHARE) -> npt.NDArray[np.bool_]:
    """Tell which templates stay: all but the rarer ones of pairs that look alike, whatever their amplitudes.

    Kilosort 2 drops the rarer of two that correlate above 0.9 and whose norms differ by less than 12.6. A correlation
    of 0.9 between two large templates is a difference of many noise SDs; here that difference decides.
    """
    same = alike(bank, share)
    stays = np.ones(len(bank), np.bool_)
    for i in np.argsort(counts, kind="stable"):
        stays[i] = not (same[i] & stays & (counts >= counts[i])).any()
    return stays


def without_composites(
    searcher: Searcher, bank: TemplateBank, counts: Floats, parameters: SortingParameters
) -> npt.NDArray[np.bool_]:
    """Tell which templates stay: all but those that two or more others, each far more frequent, explain together.

    Spikes of two units that often fall together form a cluster of their own. But any waveform looks much like the sum
    of some two others on a probe full of them: how often it is seen tells a neuron from a coincidence.
    """
    stays, energies, templates = np.ones(len(bank), np.bool_), bank.norms**2, searcher.templates(bank)
    for i in np.argsort(counts, kind="stable"):
        energy = energies[i]
        parts, amplitudes = searcher.explain(templates, int(i), stays, threshold=parameters.Th[1], lam=parameters.lam)
        left = energy - (amplitudes.astype(np.float64) ** 2).sum()
        enough = left < max(COMPOSITE_SHARE * energy, COMPOSITE_ENERGY)
        stays[i] = not (len(parts) >= 2 and enough and (COMPOSITE_RATE * counts[parts] > counts[i]).all())
    return stays


def with_remnants_completed(bank: TemplateBank, spikes: Spikes, share: float) -> tuple[TemplateBank, Bools]:
    """Replace templates that are never alone by the neurons that they are a part of.

    Parameters
    ----------
    spikes
        Of a pass: first samples, templates, amplitudes.

    Returns
    -------
    TemplateBank
        As many templates.
    ndarray
        bool: which stay. A neuron that has a template already needs no other.
    """
    start, template, amplitude = spikes
    remnants, stays = find_remnants(start, template, amplitude, bank.norms), np.ones(len(bank), np.bool_)
    if not remnants:
        return bank, stays
    main, weights = bank.main.copy(), bank.weights.copy()
    for remnant in remnants:
        whole = summed(bank, remnant)
        main[remnant.template], weights[remnant.template] = whole.main[0], whole.weights[0]
    completed = TemplateBank(bank.layout, bank.basis, main, weights)
    same = alike(completed, share)
    for remnant in remnants:
        stays[remnant.template] = not (same[remnant.template] & stays).any()
    dropped = int((~stays).sum())
    logger.info(
        "%d templates were never alone: %d completed, %d dropped", len(remnants), len(remnants) - dropped, dropped
    )
    return completed, stays


def learn(
    searcher: Searcher, bank: TemplateBank, batches: list[tuple[int, int]], parameters: SortingParameters
) -> TemplateBank:
    """Sweep twice over some batches: first with births from the residual at the end, then to settle.

    Returns
    -------
    TemplateBank
        As it is at the end.
    """
    p = parameters
    seconds = sum(stop - start for start, stop in batches) / searcher.recording.sampling_rate
    memories = forgetting(momentum(searcher, p), 2 * len(batches))
    for sweep in range(2):
        counts, left, spikes = np.zeros(len(bank)), [], list[Spikes]()
        caution = searcher.caution(f"learning {sweep + 1} of 2")
        # Back to the beginning, where the extraction starts.
        visited = batches if sweep == 0 else batches[::-1]
        for step, (start, stop) in enumerate(progress_bar(visited, desc=f"learning {sweep + 1} of 2", unit="batch")):
            found = searcher.search(
                bank, start, stop, threshold=p.Th[1], lam=p.lam, residual=sweep == 0, caution=caution
            )
            bank, n = updated(bank, found, memories[sweep * len(batches) + step], p.Th[0] * caution.root)
            counts += n
            left.append(found.residual)
            spikes.append((found.start, found.template, found.amplitude))
        start, template, amplitude = (np.concatenate(part) for part in zip(*spikes, strict=True))
        bank, stays = with_remnants_completed(bank, (start, template, amplitude), twin_share(searcher))
        stays &= counts >= max(p.minFR * seconds, 1.0)
        bank, counts = bank.keep(stays).recentred(), counts[stays]
        stays = without_twins(bank, counts, twin_share(searcher))
        n_twins = int((~stays).sum())
        bank, counts = bank.keep(stays), counts[stays]
        stays = without_composites(searcher, bank, counts, p)
        bank = bank.keep(stays)
        logger.info(
            "sweep %d: %d templates; %d twins and %d composites dropped", sweep, len(bank), n_twins, int((~stays).sum())
        )
        if sweep == 0:
            residual = searcher.joined_peaks(left)
            born = cluster_peaks(residual, bank.layout, bank.basis, min_size=least_size(p, seconds), seed=p.seed)
            bank = grown(bank, born, twin_share(searcher))
    return bank


def least_size(parameters: SortingParameters, seconds: float) -> int:
    """Return the fewest spikes of a cluster that becomes a template."""
    return max(20, int(np.ceil(parameters.minFR * seconds)))


def grown(bank: TemplateBank, born: TemplateBank, share: float = TWIN_SHARE) -> TemplateBank:
    """Return `bank` with those new templates that none of its own looks like."""
    joined = bank.joined(born)
    counts = np.r_[np.ones(len(bank)), np.zeros(len(born))]
    stays = without_twins(joined, counts, share)
    stays[: len(bank)] = True
    logger.info("%d births", int(stays[len(bank) :].sum()))
    return joined.keep(stays)
