"""Where the animal looks: from the ellipses of pupil and corneal reflection to a place on the monitor.

The origin is the centre of the eye. Camera and monitor have coordinates of their own: z points to the eye, x is
parallel to the eye's x-y plane. The reflection of the light is its virtual image in a convex mirror, the cornea; the
pupil lies on the eye's sphere, as far from that image as the camera sees. (processing specification of the released
files, section 6)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from allen_ecephys.errors import explains_unknown_names

Floats = npt.NDArray[np.float64]

#: Radius of a mouse's eye, and size of a pixel of the eye camera at the eye (cm).
EYE_RADIUS_CM: Final = 0.1682
CM_PER_PIXEL: Final = 10.2 / 10_000


def rotation_matrix(x: float, y: float, z: float) -> Floats:
    """Return the rotation about the x, then the y, then the z axis by angles in radians, (3, 3)."""
    cx, cy, cz, sx, sy, sz = (*np.cos([x, y, z]), *np.sin([x, y, z]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def to_eye_rotation(position: npt.ArrayLike) -> Floats:
    """Return what turns coordinates of an object that faces the eye from `position` into the eye's, (3, 3)."""
    place = np.asarray(position, dtype=np.float64)
    normal = -place / np.linalg.norm(place)
    theta_z = -(np.pi / 2 + np.arctan2(normal[1], normal[0]))
    about_z = rotation_matrix(0.0, 0.0, theta_z)
    turned = about_z @ normal
    theta_x = np.pi / 2 - np.arctan2(turned[2], turned[1])
    return np.asarray((rotation_matrix(theta_x, 0.0, 0.0) @ about_z).T)


def corneal_reflection(light: npt.ArrayLike, eye_radius: float = EYE_RADIUS_CM) -> Floats:
    """Return where the image of a light at `light` is seen in the cornea (cm, eye coordinates)."""
    x, y, z = np.asarray(light, dtype=np.float64)
    focal = -eye_radius / 2
    distance = np.hypot(x, y) - eye_radius
    image = distance * focal / (distance - focal)
    height = -(image / distance) * z
    direction = np.array([x, y, z]) / np.linalg.norm([x, y, z])
    return np.asarray(direction * np.hypot(eye_radius + image, height))


def on_plane(normal: npt.ArrayLike, point: npt.ArrayLike, direction: npt.ArrayLike, origin: npt.ArrayLike) -> Floats:
    """Return where rays (..., 3) from `origin` pass through a plane."""
    n, p, d, o = (np.asarray(v, dtype=np.float64) for v in (normal, point, direction, origin))
    length = ((p - o) @ n) / (d @ n)
    return np.asarray(o + length[..., None] * d)


@explains_unknown_names
@dataclass(frozen=True)
class EyeRig:
    """Where monitor, camera and light are around the eye.

    Attributes
    ----------
    monitor_position, camera_position, led_position
        Of their centres in eye coordinates (cm).
    monitor_rotation, camera_rotation
        About their own x, y and z axes (rad).
    eye_radius, cm_per_pixel
        Radius of the eye and size of a camera pixel at the eye (cm).
    """

    monitor_position: tuple[float, float, float]
    camera_position: tuple[float, float, float]
    led_position: tuple[float, float, float]
    monitor_rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    camera_rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    eye_radius: float = EYE_RADIUS_CM
    cm_per_pixel: float = CM_PER_PIXEL

    def pupil_positions(self, pupil: npt.ArrayLike, reflection: npt.ArrayLike) -> Floats:
        """Return pupil centres (n, 3) in eye coordinates (cm) from pixels (n, 2); NaN where they miss the eye."""
        offset = (np.asarray(pupil, dtype=np.float64) - np.asarray(reflection, dtype=np.float64)) * self.cm_per_pixel
        own = rotation_matrix(*self.camera_rotation)
        to_eye = to_eye_rotation(self.camera_position)
        seen = own @ to_eye.T @ corneal_reflection(self.led_position, self.eye_radius)
        plane = offset + seen[:2]
        squared = self.eye_radius**2 - (plane**2).sum(axis=1)
        depth = np.sqrt(np.where(squared >= 0, squared, np.nan))
        return np.asarray(np.column_stack([plane, depth]) @ (to_eye @ own.T).T)

    def on_monitor(self, pupil: npt.ArrayLike, reflection: npt.ArrayLike) -> Floats:
        """Return where on the monitor each gaze falls, (n, 2): x to the right, y up from its centre (cm)."""
        monitor = np.asarray(self.monitor_position, dtype=np.float64)
        turn = rotation_matrix(*self.monitor_rotation)
        to_eye = to_eye_rotation(monitor)
        gaze = self.pupil_positions(pupil, reflection)
        places = on_plane(monitor / np.linalg.norm(monitor), monitor, gaze, np.zeros(3)) - monitor
        return np.asarray((places @ (turn.T @ to_eye.T).T)[:, :2])

    def in_degrees(self, on_monitor: npt.ArrayLike) -> Floats:
        """Return places on the monitor (n, 2; cm) as meridian and elevation seen from the eye (degrees)."""
        x, y = np.asarray(on_monitor, dtype=np.float64).T
        distance = np.linalg.norm(self.monitor_position)
        angles = np.column_stack([np.arctan(x / distance), np.arctan(y / np.hypot(x, distance))])
        return np.asarray(np.rad2deg(angles))
