"""Rows A8, A12, A15, A18: sessions, LFP, sorted spikes and raw recordings with seeded damage of many kinds."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

logger = logging.getLogger(__name__)

CHILD = Path(__file__).with_name("fuzz_child.py")

#: A case takes a fraction of a second; HDF5 itself can go round for ever in damaged metadata.
LIMIT_S = 60.0


def run(kind: str, folder: Path, seed: int, first: int, last: int) -> tuple[Counter[str], list[str]]:
    """Run cases in children, a new one after a case that ends its child; return how they ended and what is wrong."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    while first < last:
        command = [sys.executable, str(CHILD), kind, str(folder), str(seed), str(first), str(last)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        lines: queue.Queue[str] = queue.Queue()
        thread = threading.Thread(target=_collect, args=(child, lines))
        thread.start()
        begun = None
        ended = "crashed"
        try:
            while line := lines.get(timeout=LIMIT_S):
                said = json.loads(line)
                begun = said["case"]
                if "outcome" in said:
                    counts[said["outcome"]] += 1
                    wrong += said["others"]
                    first, begun = begun + 1, None
        except queue.Empty:
            ended = "endless"
            child.kill()
        error = child.communicate()[1]
        thread.join()
        if begun is None and first < last:
            pytest.fail(f"the child did not run: {error}")
        if begun is not None:
            counts[ended] += 1
            if ended == "crashed":
                wrong.append(f"{kind} {seed} {begun}: ended with {child.returncode}\n{error[-2000:]}")
            else:
                logger.warning("%s %d %d: no end within %g s", kind, seed, begun, LIMIT_S)
            first = begun + 1
    return counts, wrong


def _collect(child: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        lines.put(line)
    lines.put("")


@pytest.mark.parametrize(
    ("kind", "cases"), [("session", 8), ("lfp", 30), ("phy", 80), ("spikeglx", 20), ("open ephys", 15)]
)
def test_damaged_files_are_right_or_named(tmp_path: Path, kind: str, cases: int) -> None:
    counts, wrong = run(kind, tmp_path, 1, 0, cases)
    assert not wrong, "\n".join(wrong)
    assert counts.total() == cases


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["session", "lfp", "phy", "spikeglx", "open ephys"])
def test_thousands_of_damaged_files_are_right_or_named(tmp_path: Path, kind: str) -> None:
    cases = int(os.environ.get("ALLEN_ECEPHYS_FUZZ_CASES", "3000"))
    counts, wrong = run(kind, tmp_path, 2, 0, cases)
    logger.warning("%s: %s", kind, dict(counts))
    assert not wrong, "\n".join(wrong)
    assert counts["endless"] <= cases // 50, counts
