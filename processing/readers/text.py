"""Text that other programs wrote, on Windows often in the code page of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from allen_ecephys.errors import FileFormatError
from allen_ecephys.files import read_regular

#: Tried in turn; the last reads any bytes. What matters to a reader is ASCII; notes and folders may come out garbled.
ENCODINGS: Final = ("utf-8-sig", "cp1252", "latin-1")
#: No description of a recording or sorting is larger (bytes).
MOST_BYTES: Final = 50_000_000


def read_text(path: Path) -> str:
    """Return the text of a file in any encoding that keeps ASCII.

    Raises
    ------
    FileFormatError
        If it is no text, or far too large.
    """
    data = read_regular(path, MOST_BYTES)
    if b"\0" in data:
        msg = f"{path} is not text, or far larger than such a file is; copy it again"
        raise FileFormatError(msg)
    for encoding in ENCODINGS[:-1]:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode(ENCODINGS[-1])
