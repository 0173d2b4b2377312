"""Add a metric of one's own to the table: how much the rate of a unit changes from the first to the last flashes."""

import sys

from allen_ecephys import EcephysSession
from allen_ecephys.processing.stimulus_metrics import compute_unit_analysis_metrics, metric


@metric("adaptation_fl", stimulus="flashes")
def adaptation(responses):
    third = len(responses.design.start) // 3
    first, last = responses.counts[:, :third].mean(axis=1), responses.counts[:, -third:].mean(axis=1)
    return (last - first) / (last + first).clip(min=1e-9)


if __name__ == "__main__":
    with EcephysSession(sys.argv[1]) as session:
        print(compute_unit_analysis_metrics(session)[["firing_rate_fl", "adaptation_fl"]])
