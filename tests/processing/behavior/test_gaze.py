"""Gaze against the published geometry."""

from __future__ import annotations

import numpy as np
import pytest

from allen_ecephys.processing.behavior.gaze import (
    EyeRig,
    corneal_reflection,
    on_plane,
    rotation_matrix,
    to_eye_rotation,
)

RIG = EyeRig((170.0, 0.0, 0.0), (150.0, 0.0, 0.0), (130.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ([1, 0, 0], [[0, 0, -1], [-1, 0, 0], [0, 1, 0]]),
        ([0, 1, 0], [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
        ([0, 0, 1], [[0, -1, 0], [-1, 0, 0], [0, 0, -1]]),
    ],
)
def test_facing_the_eye(position: list[float], expected: list[list[float]]) -> None:
    assert np.allclose(to_eye_rotation(position), expected)


def test_own_rotation() -> None:
    expected = [
        [0.77015115, -0.21902415, 0.59907898],
        [0.42073549, 0.88034656, -0.21902415],
        [-0.47942554, 0.42073549, 0.77015115],
    ]
    assert np.allclose(rotation_matrix(0.5, 0.5, 0.5), expected)


@pytest.mark.parametrize(
    ("light", "expected"),
    [
        ([100, 0, 50], [0.08417078, 0, 0.04208539]),
        ([50, 0, 20], [0.08424169, 0, 0.03369668]),
        ([246, 92.3, 52.6], [0.07876523, 0.02955297, 0.01684167]),
        ([258.9, -61.2, 32.1], [0.08187032, -0.01935289, 0.01015078]),
    ],
)
def test_corneal_reflection(light: list[float], expected: list[float]) -> None:
    assert np.allclose(corneal_reflection(light), expected, atol=1e-8)


def test_plane() -> None:
    found = on_plane([1, 1, 1], [1, 1, -5], [[6, 1, 4]], [-5, 1, -1])
    assert np.allclose(found, [[-3.90909091, 1.18181818, -0.27272727]])


def test_pupil_and_gaze() -> None:
    pupil = np.array([[350, 350], [325, 325], [290, 290], [900, 900]], dtype=float)
    reflection = np.full((4, 2), 300.0)
    eye = RIG.pupil_positions(pupil, reflection)
    expected = [[-0.15195, -0.0510, 0.0510], [-0.16428, -0.0255, 0.0255], [-0.16758, 0.0102, -0.0102], [np.nan] * 3]
    assert np.allclose(eye, expected, atol=1e-5, equal_nan=True)
    gaze = RIG.on_monitor(pupil, reflection)
    expected = [[-57.057, -57.057], [-26.386, -26.386], [10.347, 10.347], [np.nan] * 2]
    assert np.allclose(gaze, expected, atol=2e-3, equal_nan=True)


@pytest.mark.parametrize(
    ("distance", "place", "expected"),
    [
        (170, (2, 5), (0.6740369, 1.6845678)),
        (100, (5, 6), (2.8624052, 3.4293566)),
        (100, (8, 9), (4.5739213, 5.1264737)),
    ],
)
def test_degrees(distance: float, place: tuple[float, float], expected: tuple[float, float]) -> None:
    rig = EyeRig((distance, 0, 0), (1, 0, 0), (1, 0, 0))
    assert np.allclose(rig.in_degrees([place]), [expected])
