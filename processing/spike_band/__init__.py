"""The spike band (AP band): channel offsets and masks, median subtraction, high-pass filter and whitening."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allen_ecephys.lazy_names import lazy_names

if TYPE_CHECKING:
    from .depth_estimation import estimate_depth
    from .filtering import high_pass
    from .ingest import QuantizedRecording
    from .median_subtraction import MedianSubtractedRecording
    from .probe_info import DepthParameters, ProbeInfo, read_probe_info
    from .writing import (
        WhiteningParameters,
        estimate_whitening,
        open_processed,
        write_median_subtracted,
        write_whitened,
    )

__all__ = [
    "DepthParameters",
    "MedianSubtractedRecording",
    "ProbeInfo",
    "QuantizedRecording",
    "WhiteningParameters",
    "estimate_depth",
    "estimate_whitening",
    "high_pass",
    "open_processed",
    "read_probe_info",
    "write_median_subtracted",
    "write_whitened",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DepthParameters": ".probe_info",
        "MedianSubtractedRecording": ".median_subtraction",
        "ProbeInfo": ".probe_info",
        "QuantizedRecording": ".ingest",
        "WhiteningParameters": ".writing",
        "estimate_depth": ".depth_estimation",
        "estimate_whitening": ".writing",
        "high_pass": ".filtering",
        "open_processed": ".writing",
        "read_probe_info": ".probe_info",
        "write_median_subtracted": ".writing",
        "write_whitened": ".writing",
    },
)
