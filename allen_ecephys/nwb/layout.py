"""Names of the released NWB layout: groups, columns, units and dtypes.

The single place that knows them; the reader (:mod:`allen_ecephys.nwb.reader`) and the writer
(:mod:`allen_ecephys.processing.packaging.session`) both use it. The layout is that of the 2020 release (NWB 2.2.2,
``ndx-aibs-ecephys`` 0.2.0), which later files keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# --- root and metadata -------------------------------------------------------------------------------------------

IDENTIFIER: Final = "identifier"
SESSION_START_TIME: Final = "session_start_time"
SESSION_DESCRIPTION: Final = "Data and metadata for an Ecephys session"
LFP_DESCRIPTION: Final = "LFP data and associated channel info for a single Ecephys probe"
INSTITUTION: Final = "Allen Institute for Brain Science"
STIMULUS_NOTES: Final = "general/stimulus"
SUBJECT: Final = "general/subject"
EXTRACELLULAR: Final = "general/extracellular_ephys"
ELECTRODES: Final = "general/extracellular_ephys/electrodes"
UNITS: Final = "units"
INTERVALS: Final = "intervals"
INVALID_TIMES: Final = "intervals/invalid_times"
PRESENTATIONS_SUFFIX: Final = "_presentations"

# --- time series -------------------------------------------------------------------------------------------------

RUNNING_SPEED: Final = "processing/running/running_speed"
RUNNING_SPEED_END_TIMES: Final = "processing/running/running_speed_end_times"
RUNNING_ROTATION: Final = "processing/running/running_wheel_rotation"
RAW_ROTATION: Final = "acquisition/raw_running_wheel_rotation"
WHEEL_SIGNAL_VOLTAGE: Final = "acquisition/running_wheel_signal_voltage"
WHEEL_SUPPLY_VOLTAGE: Final = "acquisition/running_wheel_supply_voltage"
OPTOTAGGING: Final = "processing/optotagging/optogenetic_stimulation"
RIG_GEOMETRY: Final = "processing/eye_tracking_rig_metadata/eye_tracking_rig_metadata"
EYE_TRACKING: Final = "processing/eye_tracking"
ELLIPSE_FITS: Final = {
    "corneal_reflection": "cr_ellipse_fits",
    "pupil": "pupil_ellipse_fits",
    "eye": "eye_ellipse_fits",
}
#: Columns of an ellipse's table in the file: centre and half-axes in pixels, rotation in radians.
ELLIPSE_COLUMNS: Final = ("center_x", "center_y", "height", "width", "phi")
HALF_AXES: Final = ("height", "width")
RAW_GAZE: Final = "processing/raw_gaze_mapping"
FILTERED_GAZE: Final = "processing/filtered_gaze_mapping"
#: Series of a gaze module: name -> (unit in the file, columns of the session's tables). Pairs are kept as (y, x).
GAZE_SERIES: Final = {
    "eye_area": ("Pixels ^ 2", ("eye_area",)),
    "pupil_area": ("Pixels ^ 2", ("pupil_area",)),
    "screen_coordinates": ("Centimeters", ("screen_coordinates_y_cm", "screen_coordinates_x_cm")),
    "screen_coordinates_spherical": (
        "Degrees",
        ("screen_coordinates_spherical_y_deg", "screen_coordinates_spherical_x_deg"),
    ),
}
#: Vectors (x, y, z) of the eye-tracking rig: name -> (unit, meaning).
RIG_VECTORS: Final = {
    "monitor_position": ("mm", "position of the monitor (x, y, z)"),
    "camera_position": ("mm", "position of the eye camera (x, y, z)"),
    "led_position": ("mm", "position of the infrared light (x, y, z)"),
    "monitor_rotation": ("deg", "rotation of the monitor (x, y, z)"),
    "camera_rotation": ("deg", "rotation of the eye camera (x, y, z)"),
}
ECEPHYS_MODULE: Final = "processing/ecephys"
CSD: Final = "processing/current_source_density/ecephys_csd"


def lfp_series(probe_id: int) -> str:
    """Return where a probe's LFP file holds its traces."""
    return f"acquisition/probe_{probe_id}_lfp/probe_{probe_id}_lfp_data"


def places_of_lfp(probe_id: int) -> tuple[str, ...]:
    """Return where a probe's traces can lie: in its LFP file, or in a file that holds the whole session.

    The release's Zarr copies hold the LFP of all probes, in ``acquisition`` or, as NWB advises for downsampled data, in
    a processing module.
    """
    own = lfp_series(probe_id)
    return own, f"{ECEPHYS_MODULE}/{own.partition('/')[2]}"


def places_of_csd(probe_id: int) -> tuple[str, ...]:
    """Return where a probe's current source density can lie: in a file of the whole session, or in its LFP file."""
    return f"{ECEPHYS_MODULE}/probe_{probe_id}_ecephys_csd", CSD


# --- tables ------------------------------------------------------------------------------------------------------

FILTERING: Final = "AP band: 500 Hz high-pass; LFP band: 1000 Hz low-pass"
ELECTRODE_LOCATION: Final = "See electrode locations"
STIMULUS_TAG: Final = "stimulus_time_interval"
OPTOTAGGING_TAG: Final = "optical_stimulation"


@dataclass(frozen=True)
class Column:
    """One column of a table of the layout.

    Attributes
    ----------
    name
        Its name in the file.
    dtype
        ``i8``, ``f8``, ``bool`` or ``str``; ``um``: ``i8`` as in the release where all are whole, else ``f8``.
    meaning
        What it holds, with the unit; written as the column's description.
    table_name
        Its name in the session's tables, where that differs (the names AllenSDK's users know).
    """

    name: str
    dtype: str
    meaning: str
    table_name: str | None = None

    @property
    def shown_as(self) -> str:
        """The column's name in the session's tables."""
        return self.table_name or self.name


ELECTRODE_COLUMNS: Final = (
    Column(
        "x",
        "f8",
        "anterior-posterior CCF coordinate (um), NaN if not registered",
        "anterior_posterior_ccf_coordinate",
    ),
    Column(
        "y",
        "f8",
        "dorsal-ventral CCF coordinate (um), NaN if not registered",
        "dorsal_ventral_ccf_coordinate",
    ),
    Column("z", "f8", "left-right CCF coordinate (um), NaN if not registered", "left_right_ccf_coordinate"),
    Column("imp", "f8", "impedance (ohm); not measured, always NaN"),
    Column("location", "str", "acronym of the brain structure, empty outside the brain", "structure_acronym"),
    Column("filtering", "str", "description of the hardware filters"),
    Column("probe_vertical_position", "um", "position along the probe (um), from the tip"),
    Column("probe_horizontal_position", "um", "position across the probe (um)"),
    Column("probe_id", "i8", "id of the channel's probe"),
    Column("local_index", "i8", "index of the channel on its probe (0 to 383)", "probe_channel_number"),
    Column("valid_data", "bool", "whether data of this channel are usable"),
)

#: CCF coordinates (um) in the session's and the project's tables; the file calls them x, y and z.
CCF_COLUMNS: Final = tuple(column.shown_as for column in ELECTRODE_COLUMNS if column.name in ("x", "y", "z"))

#: The CCF coordinate that the release's tables give to channels that were never registered.
UNREGISTERED: Final = -1000.0

#: One of these two names the channel's index on its probe; released files have the first, newer ones the second.
CHANNEL_NUMBER_NAMES: Final = ("local_index", "probe_channel_number")

UNIT_COLUMNS: Final = (
    Column("peak_channel_id", "i8", "id of the channel on which the unit is largest"),
    Column("local_index", "i8", "row of the unit among its probe's units"),
    Column("cluster_id", "i8", "id of the unit in its probe's sorting"),
    Column("quality", "str", "'good', or 'noise' for artefactual waveforms"),
    Column("firing_rate", "f8", "mean firing rate over the session (Hz)"),
    Column("snr", "f8", "peak of the waveform over the noise on the peak channel"),
    Column("isi_violations", "f8", "rate of refractory-period violations relative to the unit's own rate"),
    Column("presence_ratio", "f8", "fraction of the session in which the unit spikes (at most 0.99)"),
    Column("amplitude_cutoff", "f8", "estimated fraction of spikes below the detection threshold (at most 0.5)"),
    Column("isolation_distance", "f8", "Mahalanobis distance to the nearest cluster"),
    Column("l_ratio", "f8", "contamination by Mahalanobis distance and degrees of freedom", "L_ratio"),
    Column("d_prime", "f8", "separation from other clusters by linear discriminant analysis"),
    Column("nn_hit_rate", "f8", "fraction of nearest neighbours of the unit's spikes that are its own"),
    Column("nn_miss_rate", "f8", "fraction of nearest neighbours of other spikes that are the unit's"),
    Column("max_drift", "f8", "largest change of depth over the session (um)"),
    Column("cumulative_drift", "f8", "summed change of depth over the session (um)"),
    Column("silhouette_score", "f8", "silhouette of the unit's spikes in feature space"),
    Column("waveform_duration", "f8", "trough-to-peak time of the mean waveform (ms)"),
    Column("waveform_halfwidth", "f8", "width of the trough at half its depth (ms)"),
    Column("PT_ratio", "f8", "peak over trough amplitude", "waveform_PT_ratio"),
    Column("repolarization_slope", "f8", "slope after the trough (V/s)", "waveform_repolarization_slope"),
    Column("recovery_slope", "f8", "slope after the peak (V/s)", "waveform_recovery_slope"),
    Column("amplitude", "f8", "trough-to-peak amplitude on the peak channel (uV)", "waveform_amplitude"),
    Column("spread", "f8", "extent along the probe above 12 % of the peak (um)", "waveform_spread"),
    Column("velocity_above", "f8", "inverse propagation speed above the soma (s/m)", "waveform_velocity_above"),
    Column("velocity_below", "f8", "inverse propagation speed below the soma (s/m)", "waveform_velocity_below"),
)

#: Pulses of light; files of other laboratories may lack some.
OPTOTAGGING_COLUMNS: Final = (
    Column("start_time", "f8", "onset of the light pulse (s)"),
    Column("stop_time", "f8", "end of the light pulse (s)"),
    Column("condition", "str", "shape of the light pulse"),
    Column("level", "f8", "level of the control signal (V)"),
    Column("stimulus_name", "str", "name of the light stimulus"),
    Column("duration", "f8", "duration (s)"),
)

#: Ragged columns of the units table: name -> (unit of measurement, meaning).
#: Columns that files have beyond the release's where the unit's sorting was estimated.
ESTIMATE_COLUMNS: Final = (
    Column(
        "kind", "str", "what the unit probably is: 'neuron', 'multi-unit', 'background' (of many neurons) or 'noise'"
    ),
    Column("p_neuron", "f8", "probability that at most a fifth of the unit's spikes are not one neuron's"),
    Column("p_multi_unit", "f8", "probability that the unit mixes a few neurons"),
    Column("p_background", "f8", "probability that the unit pools small spikes of many neurons"),
    Column("p_noise", "f8", "probability that most of the unit's spikes are no neuron's"),
    Column("false_share", "f8", "estimated share of the unit's spikes that are not its neuron's"),
    Column("false_low", "f8", "lower end of the 90 % interval of false_share"),
    Column("false_high", "f8", "upper end of the 90 % interval of false_share"),
    Column("missed_share", "f8", "estimated share of its neuron's spikes that the unit lacks"),
    Column("missed_low", "f8", "lower end of the 90 % interval of missed_share"),
    Column("missed_high", "f8", "upper end of the 90 % interval of missed_share"),
)
RAGGED_UNIT_COLUMNS: Final = {
    "spike_times": ("s", "spike times of the unit (s), ascending"),
    "spike_amplitudes": ("V", "amplitude of each spike (V)"),
    "waveform_mean": ("uV", "mean waveform (uV): channels of the probe x samples"),
}

#: Columns of a presentations table that say when, not what.
TIME_COLUMNS: Final = ("start_time", "stop_time")
BOOKKEEPING_COLUMNS: Final = ("tags", "timeseries", "stimulus_index")

#: Meaning of each stimulus parameter, written as the column's description.
STIMULUS_COLUMNS: Final = {
    "stimulus_name": "name of the stimulus",
    "stimulus_block": "index of the contiguous block of one stimulus",
    "stimulus_index": "index of the stimulus script",
    "temporal_frequency": "temporal frequency of the grating (Hz)",
    "spatial_frequency": "spatial frequency of the grating (cycles/degree)",
    "orientation": "orientation of the grating (degrees)",
    "phase": "phase of the grating",
    "contrast": "contrast of the stimulus (0 to 1)",
    "x_position": "horizontal position on the screen (degrees)",
    "y_position": "vertical position on the screen (degrees, up is positive)",
    "size": "size of the stimulus, in `units`",
    "units": "unit of `size`: 'deg' or 'pix'",
    "color": "color of the stimulus (-1 black, 1 white, or an RGB triplet)",
    "mask": "shape of the mask",
    "opacity": "opacity of the stimulus",
    "frame": "image or movie frame shown; -1 is the blank (grey) sweep of the natural scenes",
    "Dir": "direction of dot motion (degrees)",
    "Speed": "speed of dot motion (screen units/frame)",
    "coherence": "fraction of dots that move together",
    "dotLife": "lifetime of a dot (frames)",
    "dotSize": "size of a dot (pixels)",
    "nDots": "number of dots",
    "fieldPos": "position of the field of dots",
    "fieldShape": "shape of the field of dots",
    "fieldSize": "size of the field of dots",
    "noiseDots": "how noise dots move",
}
