"""The images and movies that were shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from allen_ecephys.errors import FileFormatError, missing_extra

if TYPE_CHECKING:
    import numpy.typing as npt


def read_movie(path: Path) -> npt.NDArray[np.uint8]:
    """Return a movie: uint8 array of frame x row x column.

    The released files are called ``.h5`` but are NPY files; a real HDF5 file with one dataset is read too.

    Raises
    ------
    FileFormatError
        If the file is neither.
    """
    with path.open("rb") as file:
        magic = file.read(8)
    movie: npt.NDArray[np.uint8]
    if magic.startswith(b"\x93NUMPY"):
        try:
            movie = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            msg = f"{path} is a damaged NPY file: {error}. Move it away to have it fetched again"
            raise FileFormatError(msg) from error
        return movie
    if magic == b"\x89HDF\r\n\x1a\n":
        import h5py

        with h5py.File(path, "r") as hdf5:
            datasets = [item for item in hdf5.values() if isinstance(item, h5py.Dataset)]
            if len(datasets) == 1:
                movie = datasets[0][...]
                return movie
    msg = f"{path} is no movie, neither NPY nor HDF5 with one dataset. Move it away to have it fetched again"
    raise FileFormatError(msg)


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
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        library, extra, purpose = "Pillow", "templates", "reading natural scene templates"
        raise missing_extra(library, extra, purpose) from error
    try:
        with Image.open(path) as image:
            scene: npt.NDArray[np.uint8] = np.asarray(image)
    except (UnidentifiedImageError, OSError) as error:
        msg = f"{path} is no readable image: {error}. Move it away to have it fetched again"
        raise FileFormatError(msg) from error
    return scene
