"""Reading an HDF5 file to its last byte, in a process of its own.

A damaged HDF5 file can make the library loop for ever or crash (a zeroed page did so in about one of a hundred
trials), so the reading happens in a child that is killed at a limit, and its end is an outcome, not a disaster.
"""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from pathlib import Path

_SLICE_BYTES = 16 << 20


def read_to_the_end(path: Path, *, limit_s: float | None = None) -> str | None:
    """Read every dataset and attribute of an HDF5 file in a child process.

    Parameters
    ----------
    path
        The file.
    limit_s
        Seconds until the child is killed; by default 60 s and a minute for each GB.

    Returns
    -------
    str or None
        What is wrong, or None if everything could be read. Readable bytes need not be right bytes: that only a
        digest tells.
    """
    limit = 60.0 + path.stat().st_size / 1e9 * 60.0 if limit_s is None else limit_s
    # -P: a folder named allen_ecephys in the working directory is not this package.
    command = [sys.executable, "-P", "-m", "allen_ecephys.cache.offline.deep_check", str(path)]
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and module
            command, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return f"reading it does not end (stopped after {limit:.0f} s): the file is damaged so that HDF5 loops"
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return f"reading it crashes the HDF5 library ({name}): the file is damaged"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it cannot be read"])[-1]
    return None


def _read_everything(path: str) -> None:
    import h5py

    from allen_ecephys.nwb.links import Links

    def visit(_: str, item: object) -> None:
        for _ in item.attrs.items():  # type: ignore[attr-defined]
            pass
        if not isinstance(item, h5py.Dataset):
            return
        if item.shape == () or not item.shape:
            item[()]
            return
        row_bytes = max(1, math.prod(item.shape[1:]) * item.dtype.itemsize)
        step = max(1, _SLICE_BYTES // row_bytes)
        if item.chunks:
            step = max(item.chunks[0], step // item.chunks[0] * item.chunks[0])
        for at in range(0, item.shape[0], step):
            item[at : at + step]

    with h5py.File(path, "r", locking=False) as file:
        Links(file, path).check_all()
        for _ in file.attrs.items():
            pass
        file.visititems(visit)


if __name__ == "__main__":
    try:
        _read_everything(sys.argv[1])
    except Exception as error:
        from allen_ecephys.errors import in_words

        sys.stderr.write(f"{in_words(error)}\n")
        sys.exit(1)
