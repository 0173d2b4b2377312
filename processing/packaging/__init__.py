"""Session and LFP files in the released layout, written with current pynwb."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allen_ecephys.lazy_names import lazy_names

if TYPE_CHECKING:
    from .contents import RigGeometry, SessionContents, SessionMetadata
    from .identities import check_session_id
    from .lfp import LfpContents, write_lfp_nwb
    from .session import write_session_nwb
    from .session_description import ProbeDescription, SessionDescription, read_session_description

__all__ = [
    "LfpContents",
    "ProbeDescription",
    "RigGeometry",
    "SessionContents",
    "SessionDescription",
    "SessionMetadata",
    "check_session_id",
    "read_session_description",
    "write_lfp_nwb",
    "write_session_nwb",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "LfpContents": ".lfp",
        "ProbeDescription": ".session_description",
        "RigGeometry": ".contents",
        "SessionContents": ".contents",
        "SessionDescription": ".session_description",
        "SessionMetadata": ".contents",
        "check_session_id": ".identities",
        "read_session_description": ".session_description",
        "write_lfp_nwb": ".lfp",
        "write_session_nwb": ".session",
    },
)
