"""Stimulus pickles, read without running anything in them.

A pickle is a program. The ones that the stimulus software wrote under Python 2 ask for six names, and a stimulus
computer of today for one more; whatever asks for another is refused by that name before anything is called. Arrays are
rebuilt only of plain numbers, texts and objects that are themselves read from the pickle, never from raw memory that
claims to be objects.
"""

from __future__ import annotations

import codecs
import collections
import datetime
import io
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import FileFormatError, MissingDataError, MissingFileError, UnsafePickleError, in_words

#: A stimulus pickle of three hours takes 200 MB; more is not read.
LARGEST: Final = 4_000_000_000


class PlainArray(np.ndarray[Any, Any]):
    """An array that takes its values from a pickle only if they are what they claim to be."""

    def __new__(cls, *_: Any, **__: Any) -> PlainArray:
        """Refuse to be made in one step: a pickle of numpy's never does, and memory could pass for objects."""
        msg = "the pickle makes an array in a way that numpy's own pickles do not"
        raise UnsafePickleError(msg)

    def __setstate__(self, state: Any) -> None:
        """Fill the array, after a look at its dtype."""
        _check_dtype(state[2])
        super().__setstate__(state)


def _check_dtype(dtype: Any) -> None:
    """Refuse dtypes whose bytes could stand for objects: records, void, and any that was tampered with."""
    plain = isinstance(dtype, np.dtype) and dtype.kind in "?biufcSUOmM" and dtype.names is None
    if not plain or dtype.flags != np.dtype(dtype.kind + str(dtype.itemsize) if dtype.kind != "O" else "O").flags:
        msg = f"the pickle holds an array of dtype {dtype!r}; only plain numbers, texts and objects are read"
        raise UnsafePickleError(msg)


def _reconstruct(kind: Any, shape: tuple[int, ...], code: Any) -> Any:
    """Return the empty array that a pickled one begins as."""
    if kind is not PlainArray or tuple(shape) != (0,):
        msg = f"the pickle rebuilds {kind!r} of shape {shape!r} as an array; it was not written by numpy"
        raise UnsafePickleError(msg)
    return np.ndarray.__new__(PlainArray, (0,), np.dtype("i1"))


def _scalar(dtype: Any, value: Any = b"") -> Any:
    """Return a number of numpy's."""
    _check_dtype(dtype)
    raw = value.encode("latin1") if isinstance(value, str) else value
    if dtype.kind == "O" or not isinstance(raw, bytes) or len(raw) != dtype.itemsize:
        msg = f"the pickle holds a number of dtype {dtype!r} that is not {dtype.itemsize} bytes"
        raise UnsafePickleError(msg)
    return np.frombuffer(raw, dtype)[0]


def _bytes(text: Any, encoding: Any = "latin1") -> bytes:
    """Return bytes as Python 3 writes them for Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        msg = f"the pickle encodes a {type(text).__name__} as {encoding!r}; only texts as 'latin1' are read"
        raise UnsafePickleError(msg)
    return codecs.latin_1_encode(text)[0]


_ARRAY_MODULES: Final = ("numpy.core.multiarray", "numpy._core.multiarray")
ALLOWED: Final[Mapping[tuple[str, str], Callable[..., Any]]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("datetime", "datetime"): datetime.datetime,
    ("numpy", "ndarray"): PlainArray,
    ("numpy", "dtype"): np.dtype,
    **{(module, "_reconstruct"): _reconstruct for module in _ARRAY_MODULES},
    **{(module, "scalar"): _scalar for module in _ARRAY_MODULES},
    ("_codecs", "encode"): _bytes,
}


class _RestrictedUnpickler(pickle.Unpickler):
    """Finds only what a stimulus pickle asks for."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            allowed = ", ".join(sorted({f"{m}.{n}" for m, n in ALLOWED}))
            msg = (
                f"the pickle asks for {module}.{name}, which no stimulus pickle needs; it was not run. "
                f"Allowed are {allowed}"
            )
            raise UnsafePickleError(msg) from None


def read_restricted_pickle(path: str | os.PathLike[str]) -> Any:
    """Read a pickle of Python 2 or 3 that holds plain data, and refuse any other.

    Raises
    ------
    MissingFileError
        If there is no such file.
    UnsafePickleError
        If it asks for anything that plain data do not need; the message names it. Nothing was called.
    FileFormatError
        If it is no pickle, or a damaged one.
    """
    place = Path(path)
    if not place.is_file():
        msg = f"there is no stimulus pickle {place}"
        raise MissingFileError(msg)
    if place.stat().st_size > LARGEST:
        msg = f"{place} has {place.stat().st_size:,} bytes, more than a stimulus pickle ever has; is it one?"
        raise FileFormatError(msg)
    try:
        return _RestrictedUnpickler(io.BytesIO(place.read_bytes()), encoding="latin1").load()
    except UnsafePickleError as error:
        msg = f"{place}: {error}"
        raise UnsafePickleError(msg) from error
    except Exception as error:  # a damaged pickle raises nearly anything
        msg = f"{place} is no pickle, or a damaged one ({in_words(error)}); copy it from the rig again"
        raise FileFormatError(msg) from error


@dataclass(frozen=True, eq=False)
class StimulusPickle:
    """What the stimulus computer wrote about a session.

    Attributes
    ----------
    path
        The file.
    contents
        Everything in it.
    """

    path: Path
    contents: Mapping[str, Any] = field(repr=False)

    @property
    def frames_per_second(self) -> float:
        """Nominal frame rate (Hz)."""
        return float(self._need("fps"))

    @property
    def pre_blank_seconds(self) -> float:
        """Grey screen before the first stimulus (s)."""
        return float(self._need("pre_blank_sec"))

    @property
    def stimuli(self) -> list[Mapping[str, Any]]:
        """One dictionary a stimulus script."""
        return list(self._need("stimuli"))

    @property
    def n_frames(self) -> int | None:
        """How many frames the computer showed, where it says so."""
        if "vsynccount" in self.contents:
            return int(self.contents["vsynccount"])
        return len(self.contents["intervalsms"]) + 1 if "intervalsms" in self.contents else None

    def encoder(self, name: str) -> npt.NDArray[np.float64] | None:
        """Return a signal of the running wheel, one value a frame: ``dx`` (degrees), ``vsig``, ``vin`` (V), or None."""
        items = self.contents.get("items", {})
        for item in ("behavior", "foraging"):
            encoders = items.get(item, {}).get("encoders", []) if isinstance(items, Mapping) else []
            if len(encoders) and name in encoders[0]:
                return np.asarray(encoders[0][name], dtype=np.float64).view(np.ndarray)
        if name in self.contents:
            return np.asarray(self.contents[name], dtype=np.float64).view(np.ndarray)
        return None

    def _need(self, name: str) -> Any:
        if name not in self.contents:
            msg = f"{self.path} has no {name!r} (it has {', '.join(map(str, self.contents)) or 'nothing'})"
            raise MissingDataError(msg)
        return self.contents[name]


def open_stimulus_pickle(path: str | os.PathLike[str]) -> StimulusPickle:
    """Read a stimulus pickle; errors as :func:`read_restricted_pickle`."""
    contents = read_restricted_pickle(path)
    if not isinstance(contents, Mapping):
        msg = f"{path} holds a {type(contents).__name__}, not the dictionary of a stimulus session"
        raise FileFormatError(msg)
    return StimulusPickle(Path(path), contents)
