"""What the animal did and what light did to it: running, gaze and pupil, blinks, optotagging."""

from .eye_tracking import eye_tracking, likely_blinks, read_ellipses
from .gaze import EyeRig
from .optotagging import optotagging_table
from .running import running_speed

__all__ = ["EyeRig", "eye_tracking", "likely_blinks", "optotagging_table", "read_ellipses", "running_speed"]
