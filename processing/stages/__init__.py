"""Every stage of the chain, one file each: reading the folder is reading the pipeline.

A stage's file says in its first lines what it reads and leaves, declares its name and outputs as ``STAGE`` (a
:class:`~allen_ecephys.processing.pipeline.stage.Stage`), and has one function ``run_...`` that makes the stage's
folder or reuses it. In the order of the data:

============================= ============================================================
:mod:`.opening`               no stage: what a folder of raw data holds
:mod:`.depth_estimation`      offsets and mask of channels, brain surface
:mod:`.median_subtraction`    the spike band less offsets and medians
:mod:`.whitening`             the spike band filtered and whitened
:mod:`.sorting`               the phy folder
:mod:`.double_counted_spikes` the spikes that were counted once
:mod:`.mean_waveforms`        mean waveforms and their metrics
:mod:`.noise_units`           which units are no neurons
:mod:`.features`              amplitude and projections of every spike
:mod:`.units`                 the table of everything measured on the units
:mod:`.session`               the session file of units alone
:mod:`.whole_session`         the session file with all that the rig left, LFP files, clocks
:mod:`.stimulus_metrics`      how its units respond to each stimulus
============================= ============================================================

Three functions run several stages: :func:`.spike_band.process_spike_band`, :func:`.units.measure_units`, and
:func:`.probe.sort_raw`, whose result measures and packages.
"""
