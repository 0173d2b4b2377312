"""Write an NWB file as a Zarr store: ``write_with_hdmf_zarr.py FILE STORE``, run by an interpreter with hdmf-zarr."""

from __future__ import annotations

import os
import sys

# hdmf-zarr up to 0.13 writes references as pickles, and reads its own back while it writes.
os.environ["NUMCODECS_ALLOW_UNSAFE_PICKLE_DECODE"] = "1"

from hdmf_zarr.nwb import NWBZarrIO
from pynwb import NWBHDF5IO

source, target = sys.argv[1:]
with NWBHDF5IO(source, "r", load_namespaces=True) as file, NWBZarrIO(target, mode="w") as store:
    store.export(src_io=file, write_args={"link_data": False})
