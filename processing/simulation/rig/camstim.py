"""Pickles as the stimulus computers write them: by Python 2, which has one type for text and bytes, and older names.

Only what such a pickle may ask for is written; see :mod:`allen_ecephys.processing.stimulus_table.stimulus_pickles`.
"""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

# The pickler written in Python is the one whose way of writing a type can be changed.
_Pickler: Any = pickle._Pickler  # noqa: SLF001


class _Python2Pickler(_Pickler):  # type: ignore[misc]
    """Writes texts and bytes as Python 2's ``str``, and numpy's names as they were."""

    dispatch: ClassVar[dict[Any, Any]] = dict(_Pickler.dispatch)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module, called = str(obj.__module__), name or obj.__qualname__
        module = "numpy.core.multiarray" if module.startswith("numpy._core") else module
        self.write(pickle.GLOBAL + f"{module}\n{called}\n".encode())
        self.memoize(obj)

    def _save_text(self, value: Any) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else bytes(value)
        short = len(raw) < 256
        head = pickle.SHORT_BINSTRING if short else pickle.BINSTRING
        self.write(head + struct.pack("<B" if short else "<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = _save_text


def write_python2_pickle(path: Path, contents: Any) -> None:
    """Write plain data (numbers, texts, lists, dictionaries, numpy arrays and numbers, dates) as Python 2 does."""
    buffer = io.BytesIO()
    _Python2Pickler(buffer, protocol=2).dump(contents)
    path.write_bytes(buffer.getvalue())
