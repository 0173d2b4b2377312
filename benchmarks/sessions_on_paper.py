"""How long the release's sessions would take on many nodes, on paper: measured costs, scaled, and scheduled.

    python benchmarks/sessions_on_paper.py

Costs are those that `process plan` uses where no record says more. Each node works on one stage at a time.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from allen_ecephys.processing.pipeline.costs import MEASURED, READS_BAND, READS_RAW, Size
from allen_ecephys.processing.pipeline.tasks import Task
from allen_ecephys.processing.stages.session_plan import until_done
from allen_ecephys.processing.stages.session_steps import OF_A_PROBE, OF_A_SESSION

SESSIONS, PROBES, HOURS, CHANNELS, RATE = 58, 6, 2.6, 384, 30_000
PROBE = Size(HOURS * 3600, CHANNELS)
SESSION = Size(HOURS * 3600, CHANNELS * PROBES)
RAW = PROBE.work * RATE * 2
#: How often a stage reads the spike band after its digest was taken.
PASSES = READS_RAW | READS_BAND


def tasks() -> tuple[list[Task], dict[str, float]]:
    """Return all tasks, and how long each takes on one core."""
    made, seconds = [], {}
    for session in range(SESSIONS):
        name, of_probes = str(session), list[Task]()
        for probe in map(str, range(PROBES)):
            for stage, after in OF_A_PROBE.items():
                keys = tuple(f"{name}/{probe}/{earlier}" for earlier in after)
                of_probes.append(Task(name, probe, stage, Path(), Path(), keys, partial(Path)))  # type: ignore[arg-type]
                seconds[of_probes[-1].key] = MEASURED[stage].of(PROBE).seconds
        made += sorted(of_probes, key=lambda task: task.stage == "lfp")
        before = tuple(task.key for task in of_probes)
        for stage in OF_A_SESSION:
            made.append(Task(name, "", stage, Path(), Path(), before, partial(Path)))  # type: ignore[arg-type]
            seconds[made[-1].key] = MEASURED[stage].of(SESSION).seconds
            before = (made[-1].key,)
    return made, seconds


def main() -> None:
    """Print the table."""
    made, seconds = tasks()
    of_a_probe = sum(MEASURED[stage].of(PROBE).seconds for stage in OF_A_PROBE)
    moved = RAW * (1 + sum(PASSES.values())) * SESSIONS * PROBES
    print(f"one probe: {of_a_probe / 3600:.1f} core hours ({of_a_probe / PROBE.seconds:.1f} x recorded time)")
    print(f"all: {sum(seconds.values()) / 3600:,.0f} core hours, {len(made):,} tasks, {moved / 1e12:,.0f} TB moved")
    print("| stage | core hours of a probe | share |\n|---|---|---|")
    for stage in OF_A_PROBE:
        cost = MEASURED[stage].of(PROBE).seconds
        print(f"| {stage} | {cost / 3600:.2f} | {cost / of_a_probe:.0%} |")
    print("| nodes | hours | busy | read and written, GB/s |")
    print("|---|---|---|---|")
    for nodes in (1, 10, 50, 100, 200, 348, 500):
        hours = until_done(made, seconds, nodes) / 3600
        busy = sum(seconds.values()) / 3600 / (hours * nodes)
        print(f"| {nodes} | {hours:,.1f} | {busy:.0%} | {moved / 1e9 / hours / 3600:.1f} |")


if __name__ == "__main__":
    main()
