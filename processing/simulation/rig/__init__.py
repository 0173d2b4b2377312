"""A simulated rig: everything that its computers leave behind of a session, and the truth behind it."""

from .probes import RigProbe
from .session import RigTruth, write_rig

__all__ = ["RigProbe", "RigTruth", "write_rig"]
