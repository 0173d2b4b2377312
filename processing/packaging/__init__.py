"""Session and LFP files in the released layout, written with current pynwb."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allen_ecephys.lazy_names import lazy_names

if TYPE_CHECKING:
    from .contents import SessionContents, SessionMetadata
    from .identities import check_session_id
    from .lfp import LfpContents, write_lfp_nwb
    from .session import write_session_nwb

__all__ = [
    "LfpContents",
    "SessionContents",
    "SessionMetadata",
    "check_session_id",
    "write_lfp_nwb",
    "write_session_nwb",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "LfpContents": ".lfp",
        "SessionContents": ".contents",
        "SessionMetadata": ".contents",
        "check_session_id": ".identities",
        "write_lfp_nwb": ".lfp",
        "write_session_nwb": ".session",
    },
)
