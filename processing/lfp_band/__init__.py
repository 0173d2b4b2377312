"""The LFP of a probe as the release has it, and its current source density."""

from .channels import lfp_channels, release_channels
from .current_source_density import FlashResponse, calibrated_density, flash_response, released_density
from .subsampling import SubsampledLfp, subsampled_lfp

__all__ = [
    "FlashResponse",
    "SubsampledLfp",
    "calibrated_density",
    "flash_response",
    "lfp_channels",
    "release_channels",
    "released_density",
    "subsampled_lfp",
]
