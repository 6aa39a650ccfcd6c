"""Heads for tests: brain, fluid, skull, scalp, eyes, nose, chin and neck as solids, sampled wherever a slice lies.

In the head's own coordinates (millimetres to its left, forward, up, from the middle of the brain)."""

from dataclasses import dataclass, field

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, MRImageStorage
from tests.support.dicom_objects import ct_image

CT = {"air": -1000, "soft": 45, "fat": -90, "bone": 900, "fluid": 8, "brain": 34, "eye": 15}
T1 = {"air": 6, "soft": 220, "fat": 420, "bone": 25, "fluid": 60, "brain": 300, "eye": 90}
T2 = {"air": 6, "soft": 120, "fat": 300, "bone": 20, "fluid": 600, "brain": 280, "eye": 550}
_NOISE = {"CT": 6.0, "MR": 12.0}

# Centre and radii of ellipsoids.
_VAULT = ((0, 0, 12), (66, 83, 62))
_BRAIN = (
    ((38, 14, -22), (24, 40, 24)),
    ((-38, 14, -22), (24, 40, 24)),
    ((0, -40, -30), (50, 30, 30)),
    ((0, -24, -50), (13, 13, 34)),
)
_FACE = (
    ((0, 52, -62), (62, 46, 68)),
    ((0, 82, -108), (28, 20, 18)),
    ((0, -18, -110), (56, 58, 90)),
)
NOSE = ((0, 104, -52), (10, 17, 18))
EYES = (((32, 82, -34), (12, 12, 12)), ((-32, 82, -34), (12, 12, 12)))
_NASAL_CAVITY = ((0, 62, -55), (12, 20, 20))


def _inside(points, solid, more=0.0):
    return sum(((points[..., i] - c) * (1 / (r + more))) ** 2 for i, (c, r) in enumerate(zip(*solid, strict=True))) < 1


def _brain(points, more=0.0):
    vault = _inside(points, _VAULT, more) & (points[..., 2] > -20 - more)
    return np.any([vault, *(_inside(points, s, more) for s in _BRAIN)], axis=0)


def turned(yaw: float, roll: float, nod: float) -> np.ndarray:
    """Rows: left, forward and up of a head in the patient, turned by degrees."""
    a, b, c = np.radians([yaw, roll, nod])
    about_up = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_front = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    about_left = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    straight = np.array([[1, 0, 0], [0, -1, 0], [0, 0, 1]])
    return straight @ (about_up @ about_front @ about_left).T


@dataclass(frozen=True)
class Head:
    """A head somewhere in the patient's coordinates."""

    size: float = 1.0
    at: tuple[float, float, float] = (3.0, -12.0, 740.0)
    axes: np.ndarray = field(default_factory=lambda: turned(0, 0, 0))
    face: bool = True

    def own(self, points: np.ndarray) -> np.ndarray:
        """Patient coordinates as the head's."""
        own = (points - np.array(self.at)) @ self.axes.T / self.size
        return np.asfortranarray(own.astype(np.float32))

    def brain(self, points: np.ndarray) -> np.ndarray:
        """Which points lie in the brain."""
        return _brain(self.own(points))

    def features(self, points: np.ndarray) -> np.ndarray:
        """Which points lie in the nose or the front of an eye."""
        own = self.own(points)
        eyes = np.any([_inside(own, e) for e in EYES], axis=0) & (own[..., 1] > EYES[0][0][1] - 2)
        return _inside(own, NOSE) & (own[..., 1] > 98) | eyes

    def values(self, points: np.ndarray, levels: dict[str, int], noise: float = 0.0) -> np.ndarray:
        """What a scanner measures there."""
        own = self.own(points)
        flesh = [_inside(own, s) for s in (*_FACE, NOSE)] if self.face else [_inside(own, _FACE[2])]
        found = np.full(own.shape[:-1], levels["air"], np.float32)
        skull = [_inside(own, s, 17) for s in (_VAULT, *_BRAIN[:3])]
        head = np.any([*skull, *flesh], axis=0)
        found[head] = levels["soft"]
        fat = [_inside(own, s, 14) for s in (_VAULT, *_BRAIN[:3])]
        found[head & np.any([*fat, *(_inside(own, s, -4) for s in _FACE)], axis=0)] = levels["fat"]
        found[_inside(own, _FACE[2], -12) & head] = levels["soft"]
        if self.face:
            found[_inside(own, _NASAL_CAVITY)] = levels["air"]
            for eye in EYES:
                found[_inside(own, eye)] = levels["eye"]
        found[_brain(own, 11) & head] = levels["bone"]
        found[_brain(own, 4)] = levels["fluid"]
        found[_brain(own)] = levels["brain"]
        if noise:
            found += np.random.default_rng(7).normal(0, noise, found.shape).astype(np.float32)
        return found


AXIAL = ((1, 0, 0), (0, 1, 0))
SAGITTAL = ((0, 1, 0), (0, 0, -1))
CORONAL = ((1, 0, 0), (0, 0, -1))


@dataclass(frozen=True)
class Scan:
    """How slices lie: unit vectors along a row and down a column, millimetres between pixels and slices."""

    right: tuple[float, ...] = AXIAL[0]
    down: tuple[float, ...] = AXIAL[1]
    pixel: float = 2.0
    gap: float = 2.0
    wide: float = 250.0
    """Millimetres that rows, columns and slices cover."""
    tilt: float = 0.0
    """Degrees between the slices' normal and the way from one to the next, about the row."""
    reverse: bool = False
    slices: int = 0
    """Fewer than cover everything, from the middle."""

    def frames(self, middle: tuple[float, ...]):
        """Origin and points (rows, columns, 3) of each slice of a scan around `middle`."""
        right, down = np.array(self.right, float), np.array(self.down, float)
        normal = np.cross(right, down)
        way = np.cos(np.radians(self.tilt)) * normal + np.sin(np.radians(self.tilt)) * down
        count, across = self.slices or round(self.wide / self.gap), round(self.wide / self.pixel)
        places = (np.arange(count) - (count - 1) / 2) * self.gap / np.cos(np.radians(self.tilt))
        half = (across - 1) / 2 * self.pixel
        steps = np.arange(across) * self.pixel
        for place in places[:: -1 if self.reverse else 1]:
            origin = np.array(middle) + place * way - half * right - half * down
            yield origin, origin + steps[None, :, None] * right + steps[:, None, None] * down


def middle(head: Head) -> np.ndarray:
    """Where to centre a scan that shows brain and face."""
    return np.array(head.at) + head.size * (np.array([0, 10, -28]) @ head.axes)


def series(head: Head, scan: Scan, levels: dict[str, int] = CT, **elements: object) -> list[pydicom.Dataset]:
    """One object a slice."""
    modality = "CT" if levels is CT else "MR"
    made = []
    for number, (origin, points) in enumerate(scan.frames(tuple(middle(head))), start=1):
        values = head.values(points, levels, _NOISE[modality])
        stored = np.clip(np.rint(values) + (1024 if levels is CT else 0), 0, 4095).astype("<u2")
        one = ct_image(
            SOPClassUID=CTImageStorage if levels is CT else MRImageStorage,
            SOPInstanceUID=f"1.2.276.99.7.{number}",
            Modality=modality,
            BodyPartExamined="HEAD",
            FrameOfReferenceUID="1.2.276.99.8",
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            InstanceNumber=number,
            ImagePositionPatient=[f"{v:.10g}"[:16] for v in origin],
            ImageOrientationPatient=[f"{v:.10g}"[:16] for v in (*scan.right, *scan.down)],
            PixelSpacing=[scan.pixel, scan.pixel],
            SliceThickness=scan.gap,
            Rows=points.shape[0],
            Columns=points.shape[1],
            BitsStored=12,
            HighBit=11,
            PixelRepresentation=0,
            PixelData=stored.tobytes(),
        )
        if levels is CT:
            one.RescaleSlope, one.RescaleIntercept = 1, -1024
        for keyword, value in elements.items():
            setattr(one, keyword, value)
        made.append(one)
    return made
