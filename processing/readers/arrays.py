"""Arrays that other programs wrote as ``.npy`` files."""

from __future__ import annotations

import os
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, in_words
from allen_ecephys.files import open_regular

#: Files below this size (bytes) are read whole: an empty array cannot be mapped.
LEAST_MAPPED: Final = 4096


def read_npy(path: Path, *, mapped: bool = False) -> npt.NDArray[Any]:
    """Return an array of numbers, read-only if it is `mapped` into memory.

    Files are mapped first in any case, so that a header that promises more than the file holds allocates nothing.

    Raises
    ------
    FileFormatError
        If the file is no array, holds objects, or was cut.
    """
    with open_regular(path) as file:  # nobody waits for the other end of a pipe
        size = os.fstat(file.fileno()).st_size
    mode: Literal["r"] | None = "r" if size >= LEAST_MAPPED else None
    try:
        values = np.asarray(np.load(path, mmap_mode=mode, allow_pickle=False))
    except (ValueError, EOFError, OSError, MemoryError, OverflowError, SyntaxError, TokenError) as error:
        msg = f"{path} is no plain array ({in_words(error)}); it was cut or damaged. Copy it again."
        raise FileFormatError(msg) from error
    if values.dtype.kind not in "biuf":
        msg = f"{path} is no plain array: it holds {values.dtype}, not numbers; write it again with its program"
        raise FileFormatError(msg)
    return values if mapped else np.array(values)
