"""Simulated sessions with the structure of the real ones, and the truth behind them."""

from .lfp import write_lfp
from .session import GroundTruth, write_session

__all__ = ["GroundTruth", "write_lfp", "write_session"]
