"""The images and movies that were shown."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Final

import numpy as np

from allen_ecephys.errors import FileFormatError, in_words, missing_extra
from allen_ecephys.nwb.links import Links

if TYPE_CHECKING:
    import h5py
    import numpy.typing as npt

#: Deflate makes nothing smaller than this (zlib's documentation, "maximum compression factor").
_MOST_DEFLATED: Final = 1032
_REPLACE: Final = "Move it away to have it fetched again"


def read_movie(path: Path) -> npt.NDArray[np.uint8]:
    """Return a movie: uint8 array of frame x row x column.

    The released files are called ``.h5`` but are NPY files; a real HDF5 file with one dataset is read too.

    Raises
    ------
    FileFormatError
        If the file is neither, is damaged, or shows numbers of another file.
    """
    with path.open("rb") as file:
        magic = file.read(8)
    if magic.startswith(b"\x93NUMPY"):
        movie = _npy_movie(path)
    elif magic == b"\x89HDF\r\n\x1a\n":
        movie = _hdf5_movie(path)
    else:
        msg = f"{path} is no movie, neither NPY nor HDF5 with one dataset. {_REPLACE}"
        raise FileFormatError(msg)
    if movie.ndim != 3:
        msg = f"{path} is no movie: its array has the shape {movie.shape}, not frame x row x column. {_REPLACE}"
        raise FileFormatError(msg)
    return movie


def _npy_movie(path: Path) -> npt.NDArray[np.uint8]:
    try:
        # Mapping it first compares the stated shape with the file's size, before any memory is taken.
        np.load(path, mmap_mode="r", allow_pickle=False)
        movie: npt.NDArray[np.uint8] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OverflowError, OSError, SyntaxError, TokenError) as error:
        msg = f"{path} is a damaged NPY file: {in_words(error)}. {_REPLACE}"
        raise FileFormatError(msg) from error
    return movie


def _hdf5_movie(path: Path) -> npt.NDArray[np.uint8]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            Links(file, str(path)).check_all()
            movie: npt.NDArray[np.uint8] = np.asarray(_only_dataset(file, path)[()])
    except FileFormatError:
        raise
    except Exception as error:  # h5py raises a dozen kinds for damaged files
        msg = f"{path} is a damaged HDF5 file: {in_words(error)}. {_REPLACE}"
        raise FileFormatError(msg) from error
    return movie


def _only_dataset(file: h5py.File, path: Path) -> h5py.Dataset:
    import h5py

    datasets = [item for item in file.values() if isinstance(item, h5py.Dataset)]
    if len(datasets) != 1:
        msg = f"{path} holds {len(datasets)} datasets, a movie is one. {_REPLACE}"
        raise FileFormatError(msg)
    (dataset,) = datasets
    if dataset.nbytes > _MOST_DEFLATED * path.stat().st_size:
        msg = f"{path} states {dataset.nbytes:,} bytes of movie, more than a file of its size holds. {_REPLACE}"
        raise FileFormatError(msg)
    return dataset


def read_scene(path: Path) -> npt.NDArray[np.uint8]:
    """Return a scene: uint8 array of row x column.

    Raises
    ------
    FileFormatError
        If the file is no image.
    MissingExtraError
        If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        library, extra, purpose = "Pillow", "templates", "reading natural scene templates"
        raise missing_extra(library, extra, purpose) from error
    try:
        with Image.open(path) as image:
            scene: npt.NDArray[np.uint8] = np.asarray(image)
    except Exception as error:  # decoders raise whatever they stumble over, and refuse images of absurd sizes
        msg = f"{path} is no readable image: {in_words(error)}. {_REPLACE}"
        raise FileFormatError(msg) from error
    return scene
