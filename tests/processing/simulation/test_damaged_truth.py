"""A ground truth that is damaged, or no file at all, is a named error (row A23)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from allen_ecephys.errors import FileFormatError
from allen_ecephys.processing.simulation import write_recording
from allen_ecephys.processing.simulation.raw import read_ground_truth


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "probe"
    write_recording(folder, duration=0.5, n_units=2, n_channels=4, seed=1)
    return folder


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "altered", "pipe", "folder"])
def test_damaged(recording: Path, tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(recording, tmp_path / "copy")
    truth = folder / "ground_truth.npz"
    content = truth.read_bytes()
    truth.unlink()
    if damage == "pipe":
        os.mkfifo(truth)
    elif damage == "folder":
        truth.mkdir()
    else:
        half = len(content) // 2
        altered = content[:half] + bytes(byte ^ 255 for byte in content[half : half + 2000]) + content[half + 2000 :]
        truth.write_bytes({"empty": b"", "text": b"<html>", "cut": content[:half], "altered": altered}[damage])
    with pytest.raises(FileFormatError, match=r"ground_truth\.npz"):
        read_ground_truth(folder)
