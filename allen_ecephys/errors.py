"""Every error the package raises on purpose.

One hierarchy: each class is an :class:`AllenEcephysError` and also the built-in a caller would expect, so that both
``except AllenEcephysError`` and ``except KeyError`` work. A message says what was wrong, where, and what to do next.
"""

from __future__ import annotations

import errno
import functools
import inspect
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

__all__ = [
    "AccessError",
    "AllenEcephysError",
    "AlreadyPresentError",
    "ChannelCountError",
    "ChecksumError",
    "ClosedSessionError",
    "CorruptFileError",
    "DiskFullError",
    "DownloadError",
    "FileFormatError",
    "GeometryError",
    "InvalidContentsError",
    "InvalidTypeError",
    "InvalidValueError",
    "ManifestError",
    "MissingDataError",
    "MissingExtraError",
    "MissingFileError",
    "NonFiniteError",
    "OfflineError",
    "RecordingTooShortError",
    "RemoteChangedError",
    "RemoteNotFoundError",
    "SchedulerError",
    "SortingError",
    "SpikeTrainError",
    "StageError",
    "SynchronizationError",
    "TooFewChannelsError",
    "UnknownArgumentError",
    "UnknownIdError",
    "UnknownNameError",
    "UnsafePathError",
    "UnsafePickleError",
]


class AllenEcephysError(Exception):
    """Base class of all errors raised by this package.

    Examples
    --------
    >>> from allen_ecephys.errors import AllenEcephysError
    >>> try:
    ...     session.get_lfp("probeZ")
    ... except AllenEcephysError as error:  # whatever this package refuses
    ...     print(type(error).__name__, "|", error)
    UnknownIdError | this session has no probe 'probeZ'; its probes are 7000000010 (probeA), ...
    """


# --- asking for something that is not there ---------------------------------------------------------------------


class UnknownIdError(AllenEcephysError, KeyError):
    """An id (session, unit, presentation, probe, channel), or the time of a sample, that the data asked do not hold.

    Examples
    --------
    >>> session.spike_times[1]
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.UnknownIdError: unit 1 is not in ...; session.units.index lists those shown
    """

    def __str__(self) -> str:
        # KeyError shows the repr of its argument; a message is to be read, not parsed.
        return str(self.args[0]) if self.args else ""


class UnknownNameError(AllenEcephysError, ValueError):
    """A name (filter bound, stimulus, session type, option) that does not exist.

    Examples
    --------
    >>> session.get_stimulus_table("flash")
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.UnknownNameError: this session shows no stimulus 'flash'; did you mean 'flashes'? ...
    """


class UnknownArgumentError(UnknownNameError, TypeError):
    """A keyword argument that does not exist, or one that is given twice under different names.

    Examples
    --------
    >>> session.with_units(presence_ratio=0.9)
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.UnknownArgumentError: 'presence_ratio' is not a unit filter; did you mean...
    """


class InvalidValueError(AllenEcephysError, ValueError):
    """An argument whose value is out of range or of the wrong kind (a negative seed, a threshold of 0).

    Examples
    --------
    >>> session.psth([0.1, 0.0], "flashes")
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.InvalidValueError: ...
    """


class InvalidTypeError(AllenEcephysError, TypeError):
    """An argument that is no number, name or object of the kind that is needed.

    Examples
    --------
    >>> session.responses(["flashes", "gabors"])
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.InvalidTypeError: responses are those to one stimulus, ...
    """


class SampleRangeError(AllenEcephysError, IndexError):
    """Samples that a recording does not have."""


class MissingDataError(AllenEcephysError, LookupError):
    """A part that this file or dataset does not have (no eye tracking, no LFP, no such stimulus)."""


class MissingExtraError(AllenEcephysError, ImportError):
    """A library that only some users need is not installed."""


# --- files -------------------------------------------------------------------------------------------------------


class MissingFileError(AllenEcephysError, FileNotFoundError):
    """A file that is not where it was said to be.

    Examples
    --------
    >>> EcephysSession("absent.nwb")
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.MissingFileError: ...
    """


class FileFormatError(AllenEcephysError, ValueError):
    """A file that is readable but is not what it should be (no HDF5, HDF5 but no NWB, a table without a column).

    Examples
    --------
    >>> Path("text.nwb").write_text("no NWB")
    6
    >>> EcephysSession("text.nwb").units
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.FileFormatError: ...
    """


class InvalidContentsError(AllenEcephysError, ValueError):
    """Arrays or tables that must not be written: lengths that disagree, times out of order, ids that repeat."""


class CorruptFileError(AllenEcephysError, OSError):
    """A file that is damaged: truncated, or not the bytes that were published."""


class ChecksumError(CorruptFileError):
    """A file whose digest differs from the published one."""


class ClosedSessionError(AllenEcephysError, ValueError):
    """A session that was closed is asked for data it had not read.

    Examples
    --------
    >>> session = EcephysSession("session.nwb")
    >>> session.close()
    >>> session.units
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.ClosedSessionError: ...session.nwb was closed; open it again to read more from it
    """


class AlreadyPresentError(AllenEcephysError, FileExistsError):
    """Something that would have to be replaced to be written, which was not asked for.

    Examples
    --------
    >>> cache.add_session("session.nwb")
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.AlreadyPresentError: ...
    """


# --- fetching ----------------------------------------------------------------------------------------------------


class ManifestError(AllenEcephysError, ValueError):
    """A manifest that is no manifest, of another version, or that names a path outside its folder.

    Examples
    --------
    >>> EcephysProjectCache.fixed("no_such_folder")
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.ManifestError: there is no cache at ...
    """


class UnsafePathError(AllenEcephysError, ValueError):
    """A key, id or name that would lead out of the cache's folder, or that no file system holds."""


class RemoteNotFoundError(AllenEcephysError, FileNotFoundError):
    """The remote does not have the file (404, 410)."""


class AccessError(AllenEcephysError, PermissionError):
    """The remote refuses to give the file (401, 403), or the cache folder cannot be written."""


class DownloadError(AllenEcephysError, ConnectionError):
    """A transfer that failed after all retries."""


class RemoteChangedError(DownloadError):
    """The remote file changed while it was being read."""


class OfflineError(AllenEcephysError, ConnectionError):
    """A file is not in the cache, and the cache may not use the network.

    Examples
    --------
    >>> cache.get_natural_movie_template(1)
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.OfflineError: ... is not there, and this cache never fetches (fixed)...
    """


class DiskFullError(AllenEcephysError, OSError):
    """The disk has no room for the file, or the system for one of its size.

    Attributes
    ----------
    errno
        ENOSPC, or the system's code for a quota (EDQUOT) or a limit of a file's size (EFBIG).
    """

    def __init__(self, message: str, number: int = errno.ENOSPC) -> None:
        super().__init__(message)
        self.errno = number


# --- processing --------------------------------------------------------------------------------------------------


class RecordingTooShortError(AllenEcephysError, ValueError):
    """A recording shorter than what a step needs to read."""


class GeometryError(AllenEcephysError, ValueError):
    """Channel positions that are missing, of another count than the channels, or given twice.

    Examples
    --------
    >>> from allen_ecephys.processing.readers import open_binary
    >>> Path("samples.dat").write_bytes(bytes(64_000))
    64000
    >>> open_binary("samples.dat", n_channels=16)
    Traceback (most recent call last):
        ...
    allen_ecephys.errors.GeometryError: ...
    """


class NonFiniteError(AllenEcephysError, ValueError):
    """Samples that are NaN or infinite, which a filter or a covariance would spread over everything."""


class ChannelCountError(FileFormatError):
    """A raw file that does not hold the number of channels it was opened with."""


class TooFewChannelsError(AllenEcephysError, ValueError):
    """A recording with fewer channels that measure anything than a sorter needs."""


class SpikeTrainError(AllenEcephysError, ValueError):
    """Spikes that do not fit together or their recording: no whole numbers, past its end, of units never named."""


class UnsafePickleError(FileFormatError):
    """A pickle that asks for more than plain data, and was therefore not read."""


class SynchronizationError(AllenEcephysError, ValueError):
    """Clocks that cannot be put on one another: no event in common, or frames and pulses that differ in number."""


class SortingError(AllenEcephysError, RuntimeError):
    """A spike sorter that failed."""


class SchedulerError(AllenEcephysError, ConnectionError):
    """Workers that cannot be had, or cannot do the work: no scheduler, another version, too little memory."""


class StageError(AllenEcephysError, RuntimeError):
    """A stage of the processing that cannot run, or whose output on disk is not what its manifest says."""


def suggest(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Return ``"; did you mean 'x'?"`` if a known name is as alike to `name` as that (0 to 1), else an empty string."""
    names = [str(k) for k in known]
    close = [k for k in names if k.casefold() == str(name).casefold()]
    close = close or get_close_matches(str(name), names, n=1, cutoff=likeness)
    return f"; did you mean {close[0]!r}?" if close else ""


def in_words(error: BaseException) -> str:
    """Return what an error of Python or of a library says, for a message: without its class and its number.

    Examples
    --------
    >>> in_words(KeyError("geometry")), in_words(PermissionError(13, "Permission denied", "a.json"))
    ("it has no 'geometry'", 'permission denied: a.json')
    >>> in_words(TimeoutError()), in_words(TypeError("'int' object is not iterable"))
    ('timeout error', "a value in it is of another kind than expected: 'int' object is not iterable")
    """
    text = str(error)
    if isinstance(error, AllenEcephysError):
        return text
    if isinstance(error, KeyError) and error.args:
        return f"it has no {error.args[0]!r}"
    if isinstance(error, UnicodeDecodeError):
        return f"its byte {error.start} is no text in {error.encoding.upper()}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower() + (f": {error.filename}" if error.filename else "")
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, AttributeError | TypeError):
        return f"a value in it is of another kind than expected: {text}"
    return text or re.sub("(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def explains_unknown_names(cls: type[T]) -> type[T]:
    """Make a dataclass of settings answer a keyword that it does not have with the one that was probably meant.

    Examples
    --------
    >>> from allen_ecephys import UnitFilter
    >>> UnitFilter(presence_ratio_min=0.9)
    Traceback (most recent call last):
    ...
    allen_ecephys.errors.UnknownArgumentError: UnitFilter has no 'presence_ratio_min'; did you mean \
'presence_ratio_minimum'? It takes presence_ratio_minimum, isi_violations_maximum, amplitude_cutoff_maximum, \
valid_only, in_brain_only, structures
    """
    initialise: Callable[..., None] = cls.__init__
    known = list(inspect.signature(initialise).parameters)[1:]

    @functools.wraps(initialise)
    def explaining(self: T, /, *values: Any, **named: Any) -> None:
        unknown = [name for name in named if name not in known]
        if unknown:
            near = suggest(unknown[0], known) or "."
            msg = f"{cls.__name__} has no {unknown[0]!r}{near} It takes {', '.join(known)}"
            raise UnknownArgumentError(msg)
        initialise(self, *values, **named)

    setattr(cls, "__init__", explaining)  # noqa: B010  mypy forbids the plain spelling
    return cls


def missing_extra(library: str, extra: str, purpose: str) -> MissingExtraError:
    """Return the error for an optional library that is not installed, naming the extra that brings it."""
    return MissingExtraError(f"{purpose} needs {library}: pip install 'allen-ecephys[{extra}]'")


def truncated_file(path: str | Path, found: int | None, expected: int | None) -> CorruptFileError:
    """Return the error for a file that ends before its contents do."""
    sizes = "" if found is None or expected is None else f" ({found:,} of {expected:,} bytes)"
    return CorruptFileError(
        f"{path} is truncated{sizes}: a copy or download of it was cut. "
        "Fetch it again (a project cache does so by itself after `allen-ecephys cache verify`)."
    )
