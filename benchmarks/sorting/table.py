"""The results as tables in Markdown."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

OURS = "native"
ORDER = ("native", "native*2", "native-cold", "spykingcircus2", "tridesclous2", "lupin", "simple", "kilosort4")

Record = dict[str, Any]


def grouped(found: dict[str, Any]) -> dict[str, dict[str, dict[int, Record]]]:
    """Return the newest record of each ``[data set][sorter][seed]``."""
    table: dict[str, dict[str, dict[int, Record]]] = defaultdict(lambda: defaultdict(dict))
    for key, record in sorted(found["runs"].items(), key=lambda item: str(item[1]["when"])):
        dataset, seed, sorter, _version = key.split("|")
        table[dataset][sorter][int(seed)] = record
    return table


def paired_ratio(theirs: dict[int, Record], ours: dict[int, Record], name: str) -> str:
    """Return the ratio of sums over the seeds that both have finished."""
    seeds = [seed for seed in theirs if seed in ours and "accuracy" in theirs[seed] and "accuracy" in ours[seed]]
    mine = sum(ours[seed][name] for seed in seeds)
    return f"{sum(theirs[seed][name] for seed in seeds) / mine:.1f}" if mine else ""


def write_table(found: dict[str, Any], path: Path) -> None:
    """Write one table for each data set, and the versions."""
    tables = grouped(found)
    versions = {f"{key.split('|')[2]} {record['version']}" for key, record in found["runs"].items()}
    lines = ["# Spike sorters side by side", "", "Versions: " + ", ".join(sorted(versions)) + ".", ""]
    lines += [
        "Means over seeds; found: foreground units with an accuracy of at least 0.8. False, redundant, oversplit and",
        "merged count units. CPU seconds are those of the whole process with its children; ratios are to native on the",
        "same seeds.", "",
    ]  # fmt: skip
    for dataset in sorted(tables, key=_rank):
        lines += _one_table(dataset, tables[dataset], found["datasets"])
    path.write_text("\n".join(lines) + "\n")


def _rank(dataset: str) -> tuple[int, str]:
    names = ["small", "medium", "drift", "large", "long", "rate"]
    return next((i for i, name in enumerate(names) if dataset.startswith(name)), len(names)), dataset


def _one_table(dataset: str, sorters: dict[str, dict[int, Record]], facts: dict[str, Any]) -> list[str]:
    about = next(facts[key] for key in facts if key.split("|")[0] == dataset)
    lines = [
        f"## {dataset}", "",
        f"{about['n_channels']} channels, {about['seconds']:g} s, {about['n_foreground']} units and "
        f"{about['n_background']} background units, noise {about['noise_uv']:.1f} uV.", "",
        "| sorter | seeds | accuracy | precision | recall | found | false | redundant | oversplit | merged "
        "| CPU s | ratio | peak GB | ratio |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for sorter in sorted(sorters, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        runs = sorters[sorter]
        done = [record for record in runs.values() if "accuracy" in record]
        if not done:
            only = next(iter(runs.values()))
            lines.append(f"| {sorter} | {len(runs)} | {only['status']} {'| ' * 11}|")
            continue

        def mean(name: str, digits: int, done: list[Record] = done) -> str:
            return f"{np.mean([record[name] for record in done]):.{digits}f}"

        ours = {} if sorter == OURS else sorters.get(OURS, {})
        cells = [
            sorter, str(len(done)), *(mean(name, 3) for name in ("accuracy", "precision", "recall")),
            f"{mean('n_found', 1)}/{done[0]['n_foreground']}",
            *(mean(name, 1) for name in ("false_positive", "redundant", "oversplit", "overmerged")),
            mean("cpu_s", 0), paired_ratio(runs, ours, "cpu_s"), mean("peak_gb", 2),
            paired_ratio(runs, ours, "peak_gb"),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]
