"""Draws the figure of the README, three simulated V1 units and what drives them: ``python three_units.py FIGURE``."""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from allen_ecephys import EcephysSession
from allen_ecephys.plotting import plot_psth, plot_receptive_field, plot_tuning_curve
from allen_ecephys.processing.simulation import write_session

file = Path(tempfile.mkdtemp()) / "session.nwb"
write_session(file, "brain_observatory_1.1", scale=0.6, n_units=120, seed=4)
session = EcephysSession.from_nwb_path(file)
visual = session.units[session.units["ecephys_structure_acronym"].isin(["VISp", "VISl", "VISal"])]
figure, axes = plt.subplots(1, 3, figsize=(11, 3.1), layout="constrained")

# The unit whose rate rises most after a flash.
edges = np.arange(-0.1, 0.4, 0.01)
psth = session.psth(edges, "flashes", visual.index, smoothing=0.01, by="color")
after = psth.rate.sel(time_relative_to_stimulus_onset=slice(0.03, 0.15)).mean("time_relative_to_stimulus_onset")
before = psth.rate.sel(time_relative_to_stimulus_onset=slice(-0.1, 0)).mean("time_relative_to_stimulus_onset")
flashed = int(visual.index[int((after - before).max("color").values.argmax())])
plot_psth(psth, axes[0], unit_id=flashed).set_title(f"{psth.presentation_count.values.min()} flashes of each colour")
axes[0].legend(axes[0].get_lines()[:2], ["black", "white"], frameon=False)

# The unit above 3 Hz whose mean rates differ most between directions.
gratings = session.responses("drifting_gratings", unit_ids=visual.index)
by_direction = gratings.rate.groupby("orientation").mean()
mean = by_direction.mean("orientation")
spread = ((by_direction.max("orientation") - by_direction.min("orientation")) / mean).where(mean > 3, 0)
tuned = int(visual.index[int(spread.values.argmax())])
plot_tuning_curve(gratings, "orientation", tuned, axes[1])
n = int(gratings.rate[:, 0].groupby("orientation").count().min())
axes[1].set(title=f"drifting gratings, {n} of each direction", xlabel="direction (degrees)")

# The unit with the highest peak of rate over the positions of the gabors.
gabors = session.responses("gabors", (0.03, 0.28), visual.index)
positions = [gabors.y_position.values, gabors.x_position.values]
maps = [
    gabors.rate.sel(unit_id=unit).to_series().groupby(positions).mean().unstack().sort_index(ascending=False).to_numpy()
    for unit in visual.index
]
mapped = maps[int(np.argmax([rates.max() - np.median(rates) for rates in maps]))]
n = int(gabors.rate[:, 0].to_series().groupby(positions).count().min())
plot_receptive_field(mapped, axes[2], label="rate (Hz)").set_title(f"gabors, {n} at each position")

figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "three_units.png", dpi=110)
