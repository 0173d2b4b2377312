"""Movies and scenes from files of every kind: right, or refused by name and in bounded memory."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from allen_ecephys.cache.templates import read_movie, read_scene
from allen_ecephys.errors import FileFormatError

MOVIE = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "natural_movie_1.h5"


def test_numbers_of_another_file_are_refused(path: Path) -> None:
    with h5py.File(path.with_name("secret.h5"), "w") as secret:
        secret["movie"] = MOVIE
    with h5py.File(path, "w") as file:
        file["movie"] = h5py.ExternalLink("secret.h5", "movie")
    with pytest.raises(FileFormatError, match="another file"):
        read_movie(path)
    layout = h5py.VirtualLayout(MOVIE.shape, np.uint8)
    layout[...] = h5py.VirtualSource(path.with_name("secret.h5"), "movie", MOVIE.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("movie", layout)
    with pytest.raises(FileFormatError, match="virtual dataset"):
        read_movie(path)


def test_a_small_file_does_not_decide_how_much_memory_is_taken(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("movie", (10**6, 10**5, 10**4), np.uint8, chunks=(1, 100, 100))
    with pytest.raises(FileFormatError, match="more than"):
        read_movie(path)
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 100000, 10000), }"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(100))
    with pytest.raises(FileFormatError, match="damaged NPY"):
        read_movie(path)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4)])
def test_what_is_no_movie_is_refused(path: Path, shape: tuple[int, ...]) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(shape, np.uint8))
    with pytest.raises(FileFormatError, match="frame x row x column"):
        read_movie(path)
    with h5py.File(path, "w") as file:
        file["movie"] = np.zeros(shape, np.uint8)
    with pytest.raises(FileFormatError, match="frame x row x column"):
        read_movie(path)


def test_damaged_movies_have_a_name(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("movie", data=MOVIE, compression="gzip")
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    for _ in range(150):
        damaged = bytearray(whole)
        at = int(rng.integers(len(damaged)))
        damaged[at : at + 8] = rng.bytes(8)
        path.write_bytes(damaged)
        try:
            read_movie(path)
        except FileFormatError:
            continue


def test_damaged_scenes_have_a_name(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    path, rng = tmp_path / "natural_scene_0.tiff", np.random.default_rng(3)
    image.fromarray(MOVIE[0]).save(path)
    whole = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(len(damaged), size=3):
            damaged[int(at)] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            read_scene(path)
        except FileFormatError:
            continue
