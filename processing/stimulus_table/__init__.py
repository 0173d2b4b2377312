"""What was on the screen when: frame times from the photodiode, and the table of presentations."""

from .frame_times import FrameTimes, monitor_frame_times
from .presentations import presentations_of_pickle, read_presentations, within_recording
from .stimulus_pickles import StimulusPickle, open_stimulus_pickle, read_restricted_pickle

__all__ = [
    "FrameTimes",
    "StimulusPickle",
    "monitor_frame_times",
    "open_stimulus_pickle",
    "presentations_of_pickle",
    "read_presentations",
    "read_restricted_pickle",
    "within_recording",
]
