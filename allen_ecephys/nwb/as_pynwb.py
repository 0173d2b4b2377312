"""A session's file as pynwb sees it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pynwb import NWBFile

    from .reader import NwbReader


def read_nwbfile(reader: NwbReader) -> NWBFile:
    """Return the file as pynwb reads it, through the session's own handle (which closes both).

    The extension that released files use lies in the files themselves and is loaded from there.
    """
    from pynwb import NWBHDF5IO

    reader.check_links()  # pynwb follows links by itself
    with warnings.catch_warnings():
        # Each file carries the namespaces it was written with; that a newer one is already loaded is no fault.
        warnings.filterwarnings("ignore", message="Ignoring the following cached namespace")
        made: NWBFile = NWBHDF5IO(file=reader.file, mode="r", load_namespaces=True).read()
    return made
