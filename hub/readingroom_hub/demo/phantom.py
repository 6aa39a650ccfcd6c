"""Volumes that look like people: ellipsoids with texture and noise, in Hounsfield units or MR signal. Nobody's body."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

_UP = np.array((0.0, -4.0, 0.0))
Slice = NDArray[np.float32]
Painter = Callable[[np.random.Generator, int, int], Iterator[NDArray[np.int16]]]


class _Canvas:
    """One axial slice at height `z` (mm), `rows` x `rows` pixels over `field` mm; x goes left, y to the back."""

    def __init__(self, rows: int, field: float, z: float, background: float) -> None:
        self.pixels: Slice = np.full((rows, rows), background, np.float32)
        axis = (np.arange(rows, dtype=np.float32) - (rows - 1) / 2) * np.float32(field / rows)
        self.x, self.y, self.z, self._axis = axis[None, :], axis[:, None], z, axis

    def ellipsoid(self, centre: tuple[float, float, float], radii: tuple[float, float, float], value: float) -> None:
        """Fill where the ellipsoid cuts this slice."""
        height = ((self.z - centre[2]) / radii[2]) ** 2
        if height >= 1:
            return
        a, b = radii[0] * (1 - height) ** 0.5, radii[1] * (1 - height) ** 0.5
        columns = slice(*np.searchsorted(self._axis, (centre[0] - a, centre[0] + a)))
        rows = slice(*np.searchsorted(self._axis, (centre[1] - b, centre[1] + b)))
        x, y = self.x[:, columns] - np.float32(centre[0]), self.y[rows] - np.float32(centre[1])
        inside = (x / np.float32(a)) ** 2 + (y / np.float32(b)) ** 2 < 1
        self.pixels[rows, columns][inside] = value

    def tube(self, x: float, y: float, radius: float, value: float) -> None:
        """Fill a vessel that runs from head to foot."""
        self.ellipsoid((x, y, self.z), (radius, radius, 1), value)


def _texture(rng: np.random.Generator, rows: int, grain: int, strength: float) -> Slice:
    """Smooth random variation, `grain` pixels wide."""
    coarse = rng.standard_normal((rows // grain + 2, rows // grain + 2)).astype(np.float32)
    at = np.linspace(0, rows / grain, rows, dtype=np.float32)
    low = at.astype(int)
    part = at - low
    across = coarse[:, low] * (1 - part) + coarse[:, low + 1] * part
    smooth: Slice = np.float32(strength) * (across[low] * (1 - part[:, None]) + across[low + 1] * part[:, None])
    return smooth


def _spine(c: _Canvas, y: float) -> None:
    """A vertebra every 27 mm with a disc between, the canal, a spinous process."""
    disc = c.z % 27 < 6
    c.ellipsoid((0, y, c.z), (21, 16, 1), 90 if disc else 320)
    if not disc:
        c.ellipsoid((0, y, c.z), (17, 12, 1), 190)
        c.ellipsoid((0, y + 34, c.z), (5, 16, 1), 300)
        c.ellipsoid((-22, y + 20, c.z), (17, 5, 1), 280)
        c.ellipsoid((22, y + 20, c.z), (17, 5, 1), 280)
    c.ellipsoid((0, y + 20, c.z), (9, 8, 1), 25)


def _ribs(c: _Canvas, a: float, b: float) -> None:
    """Slanted rings in the chest wall: higher at the back than at the front."""
    radius = np.sqrt((c.x / a) ** 2 + (c.y / b) ** 2)
    ring = (radius > 0.93) & (radius < 1.0) & ((c.z + 0.45 * c.y) % 26 < 10)
    c.pixels[ring] = 420
    c.pixels[ring & (radius > 0.95) & (radius < 0.98)] = 210


def _table(c: _Canvas, y: float) -> None:
    curve = y + (c.x / 26) ** 2 * -0.12
    top = (np.abs(c.y - curve) < 1.6) & (np.abs(c.x) < 200)
    c.pixels[top] = -150


def _finish(c: _Canvas, rng: np.random.Generator, texture: float, noise: float) -> NDArray[np.int16]:
    rows = c.pixels.shape[0]
    body = c.pixels > -500
    c.pixels += (
        np.where(body, _texture(rng, rows, 5, texture), 0) + rng.standard_normal((rows, rows), np.float32) * noise
    )
    return np.clip(c.pixels, -1024, 3071).astype(np.int16)


def chest(rng: np.random.Generator, slices: int, rows: int) -> Iterator[NDArray[np.int16]]:
    """CT of a chest, 400 mm field, 4 mm apart, in HU: ribs, spine, lungs with vessels and nodules, heart, aorta."""
    side = rng.choice((-1.0, 1.0), 160)
    vessels = np.stack([side * rng.uniform(40, 115, 160), rng.uniform(-75, 70, 160), rng.uniform(-130, 130, 160)], 1)
    widths = rng.uniform(1.2, 5.0, 160)
    nodules = [(78.0, -12.0, -14.0), (-66.0, 34.0, 42.0)]
    for k in range(slices):
        z = (k - slices / 2) * 4.0
        c = _Canvas(rows, 400, z, -1000)
        c.ellipsoid((0, 0, 0), (184, 132, 420), -95)
        c.ellipsoid((0, 2, 0), (170, 118, 420), 55)
        _ribs(c, 160, 108)
        for s in (-1, 1):
            c.ellipsoid((s * 76, 0, 10), (66, 88, 165), -860)
        for centre, width in zip(vessels, widths, strict=True):
            c.ellipsoid(tuple(centre), (width, width, width * 7), -40)
        for at in nodules:
            c.ellipsoid(at, (7, 7, 7), 30)
        c.ellipsoid((0, -8, 40), (34, 60, 150), 20)
        c.ellipsoid((22, -28, -40), (60, 52, 72), 45)
        c.ellipsoid((34, -22, -40), (30, 26, 44), 170)
        c.ellipsoid((-6, -40, -24), (24, 20, 36), 150)
        c.tube(20, 46, 12.5, 175)
        c.tube(0, 10, 8.5, -990 if z > 0 else 15)
        c.ellipsoid((-66, -10, -190), (90, 92, 110), 62)
        c.ellipsoid((0, -106, 20), (17, 6, 110), 260)
        _spine(c, 74)
        _table(c, 142)
        yield _finish(c, rng, 6, 14)


def abdomen(rng: np.random.Generator, slices: int, rows: int) -> Iterator[NDArray[np.int16]]:
    """CT of an abdomen, 400 mm field, 4 mm apart, in HU: liver with lesions, spleen, kidneys, bowel, aorta."""
    count = 46
    bowel = np.stack([rng.uniform(-85, 85, count), rng.uniform(-85, 5, count), rng.uniform(-130, 10, count)], 1)
    for k in range(slices):
        z = (k - slices / 2) * 4.0
        c = _Canvas(rows, 400, z, -1000)
        c.ellipsoid((0, 0, 0), (178, 124, 400), -100)
        c.ellipsoid((0, 4, 0), (156, 104, 400), 55)
        c.ellipsoid((0, 0, 0), (144, 92, 390), -85)
        _ribs(c, 154, 102) if z > 20 else None
        for i, centre in enumerate(bowel):
            c.ellipsoid(tuple(centre), (17, 15, 20), 35)
            c.ellipsoid(tuple(centre + _UP), (9, 6, 13), -900 if i % 3 == 0 else 15)
        c.ellipsoid((-64, -8, 66), (82, 80, 84), 108)
        c.ellipsoid((-84, -20, 50), (12, 11, 12), 60)
        c.ellipsoid((-48, 24, 84), (9, 9, 9), 35)
        c.ellipsoid((98, 30, 70), (36, 44, 52), 118)
        c.ellipsoid((50, -40, 78), (40, 34, 46), 20)
        c.ellipsoid((50, -58, 78), (28, 14, 34), -950)
        for s in (-1, 1):
            c.ellipsoid((s * 66, 46, 0), (28, 24, 56), 185)
            c.ellipsoid((s * 58, 44, 0), (12, 10, 32), 40)
            c.ellipsoid((s * 44, 72, 0), (26, 20, 300), 58)
        c.tube(8, 36, 10.5, 210)
        c.tube(-20, 36, 11.5, 130)
        _spine(c, 64)
        _table(c, 134)
        yield _finish(c, rng, 9, 16)


def head(rng: np.random.Generator, slices: int, rows: int) -> Iterator[NDArray[np.int16]]:
    """T1-weighted MR of a head, 240 mm field, 2 mm apart: scalp, skull, folded cortex, white matter, ventricles."""
    phase = rng.uniform(0, 6.28, 4)
    for k in range(slices):
        z = (k - slices / 2) * 2.0
        c = _Canvas(rows, 240, z, 8)
        c.ellipsoid((0, 2, 0), (80, 99, 96), 820)
        c.ellipsoid((0, 2, 0), (75, 94, 91), 90)
        c.ellipsoid((0, 2, 0), (69, 88, 86), 190)
        _brain(c, phase)
        for s in (-1, 1):
            c.ellipsoid((s * 11, -6, 14), (8, 30, 15), 170)
            c.ellipsoid((s * 22, 6, 4), (11, 17, 13), 520)
            c.ellipsoid((s * 31, -80, -34), (13, 13, 13), 150)
            c.ellipsoid((s * 31, -88, -34), (5, 4, 5), 330)
        c.ellipsoid((0, 2, -4), (3, 15, 13), 165)
        c.ellipsoid((0, 44, -52), (44, 30, 24), 480)
        c.ellipsoid((0, 18, -62), (13, 12, 40), 610)
        rows_ = c.pixels.shape[0]
        c.pixels *= 1 + 0.16 * (c.x / 120) - 0.12 * (c.y / 120)
        c.pixels += _texture(rng, rows_, 4, 14)
        real = c.pixels + rng.standard_normal((rows_, rows_), np.float32) * 16
        imaginary = rng.standard_normal((rows_, rows_), np.float32) * 16
        yield np.clip(np.hypot(real, imaginary), 0, 4095).astype(np.int16)


def _brain(c: _Canvas, phase: NDArray[np.float64]) -> None:
    """Grey and white matter with folds, and the gap between the halves."""
    angle = np.arctan2(c.y, c.x)
    radius = np.sqrt((c.x / 66) ** 2 + ((c.y - 2) / 85) ** 2 + (c.z / 83) ** 2)
    fold = 0.035 * (
        np.sin(17 * angle + phase[0] + c.z / 6) + np.sin(29 * angle + phase[1] - c.z / 9) + np.sin(c.z / 4 + 9 * angle)
    )
    c.pixels[radius < 1 + fold * 0.7] = 500
    c.pixels[radius < 0.86 + fold] = 700
    c.pixels[(np.abs(c.x + 1.5 * np.sin(c.y / 14 + phase[2])) < 1.6) & (radius < 1) & (c.z > 12)] = 180
