"""Brain extraction after S. M. Smith, Fast robust automated brain extraction, Human Brain Mapping 17 (2002) 143-155.

A surface within the brain grows until it meets what is darker, and stays smooth. CT is made ready for it as in
J. Muschelli et al., Validated automatic brain extraction of head CT images, NeuroImage 114 (2015) 379-385."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

from readingroom_hub.deid.faces.geometry import Bits, Points, Unsuited
from readingroom_hub.deid.faces.surface import Sphere
from readingroom_hub.deid.faces.volume import STEP, Grid, Volume

# The paper's: radii between which the surface is bent (mm), how far it looks inwards (mm), how hard it is pushed.
_BENT, _LEAST_BENT, _DEEP, _SHALLOW, _PUSH = 3.33, 10.0, 20.0, 10.0, 0.05
_ROUNDS, _EDGES_EVERY = 400, 50

_FINE = 3  # 642 points, 13 mm apart on a brain


@dataclass(frozen=True, slots=True)
class Levels:
    """Grey values of the paper: darkest and brightest that count, between background and head, the brain's own."""

    dark: float
    bright: float
    head: float
    brain: float


@lru_cache(maxsize=1)
def sphere() -> Sphere:
    """The one that brains are made of."""
    return Sphere(_FINE)


def inflate(values: Grid, levels: Levels, centre: Points, radius: float, threshold: float) -> Points:
    """The surface of the brain in grid indices, one point for each of `sphere()`.

    `centre` and `radius` (grid steps) say where to start; `threshold` is the paper's b_t: how much darker than
    the brain around it a place must be to lie outside."""
    ball = sphere()
    points = centre + ball.points * radius / 2
    steep, middle = 6 / (1 / _BENT - 1 / _LEAST_BENT), (1 / _BENT + 1 / _LEAST_BENT) / 2
    depths = np.arange(0, _DEEP + STEP / 2, STEP) / STEP
    shallow = depths * STEP <= _SHALLOW
    padded = np.pad(values, 1, constant_values=levels.dark)
    last = np.array(padded.shape) - 1
    six = (ball.counts == 6)[:, None]
    edge = 1.0
    for turn in range(_ROUNDS):
        around = points[ball.rings]
        rays = around - points[:, None]
        normals = np.cross(rays, np.roll(rays, -1, axis=1)).sum(axis=1)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
        means = (around[:, :5].sum(axis=1) + np.where(six, around[:, 5], 0)) / ball.counts[:, None]
        pull = means - points
        out = np.einsum("ij,ij->i", pull, normals)[:, None]
        if turn % _EDGES_EVERY == 0:
            edge = float(np.linalg.norm(rays, axis=2).mean())
        bend = 2 * np.abs(out) / (edge * edge * STEP)  # 1 / radius of curvature, per millimetre
        smooth = (1 + np.tanh(steep * (bend - middle))) / 2
        looked = np.rint(points[:, None] - depths[:, None] * normals[:, None]).astype(np.int64) + 1
        seen = padded[tuple(np.moveaxis(np.clip(looked, 0, last), -1, 0))]
        low = np.maximum(levels.dark, np.minimum(levels.brain, seen.min(axis=1)))
        high = np.minimum(levels.brain, np.maximum(levels.head, seen[:, shallow].max(axis=1)))
        least = (high - levels.dark) * threshold + levels.dark
        push = 2 * (low - least) / (high - levels.dark + 1e-9)
        step = (pull - out * normals) / 2 + smooth * out * normals + _PUSH * edge * push[:, None] * normals
        points = points + step
    return np.asarray(points)


_LARGEST_HEAD, _BELOW_TOP, _MIDDLE = 1500.0, 150.0, 110.0  # mm2 of a slice near the top; mm down from there
_TISSUE_HU, _BRAIN_HU = -300, (-15, 100)
_CT_THRESHOLDS, _MR_THRESHOLDS = (0.5, 0.7), (0.5, 0.6, 0.65, 0.7, 0.75)
# What a brain with its fluid measures, from infants on: millilitres; millimetres from side to side, front to back, up.
_VOLUME, _EXTENTS = (600, 1900), ((95, 175), (115, 215), (75, 175))
_ROUND, _AT_EDGE = 0.78, 0.12
_UNDER_SKIN = (5.0, 24.0)
# Two thresholds in turn have to end the brain at about the same place (millimetres) in these directions of the grid.
_AGREE, _WIDE = 9.0, 60.0
_TOWARDS = np.array([(0, -np.cos(a), -np.sin(a)) for a in np.radians((38, 47, 56))]).T


@dataclass(frozen=True, slots=True)
class Brain:
    """What was found in a volume."""

    points: Points
    """The surface of the brain, in millimetres: one point for each of `sphere()`."""
    head: Bits
    """Which grid points of the volume lie in the head, skin included."""
    millilitres: float


def find(volume: Volume, modality: str) -> Brain:
    """The brain in a CT (values in HU) or MR volume. Raises Unsuited where there is any doubt about it."""
    ct = modality == "CT"
    values = volume.values if ct else ndimage.gaussian_filter(volume.values, 0.5)
    dark, bright = (0.0, 1.0) if ct else (float(v) for v in np.percentile(values[volume.seen], (2, 98)))
    least = dark + 0.1 * (bright - dark)
    head = _head(values > (_TISSUE_HU if ct else least))
    area = head.sum(axis=(0, 1)) * STEP**2
    if not (area > _LARGEST_HEAD).any():
        raise Unsuited("no head was found in it")
    top = int(np.nonzero(area > _LARGEST_HEAD)[0].max())
    low = max(0, top - round(_BELOW_TOP / STEP))
    if ct:
        values = _brain_like(values, head)
    else:
        values = _even(values, head, dark)
        dark, bright = (float(v) for v in np.percentile(values[volume.seen], (2, 98)))
        least = dark + 0.1 * (bright - dark)
    above = max(low, top - round(_MIDDLE / STEP))
    middle = head[:, :, above : top + 1]
    centre = np.array([i.mean() for i in np.nonzero(middle)]) + np.array((0, 0, above - low))
    radius = float((3 * middle.sum() / 4 / np.pi) ** (1 / 3))
    part = values[:, :, low : top + 2]
    levels = Levels(dark, bright, least, 1.0 if ct else _own(part, centre, radius, dark, bright))
    room = _Room.of(head, volume.seen)
    doubt, before = "no brain was found in it", None
    for threshold in _CT_THRESHOLDS if ct else _MR_THRESHOLDS:
        points = inflate(part, levels, centre, radius, threshold) + np.array((0, 0, low))
        if found := room.doubt(points):
            doubt, before = found, None
            continue
        if before is not None and _apart(before, points) < _AGREE:
            return Brain(volume.points(before), head, sphere().volume(before) * STEP**3 / 1000)
        before, doubt = points, "nobody can tell where the brain ends and the face begins"
    raise Unsuited(doubt)


def _apart(one: Points, other: Points) -> float:
    """Millimetres between two surfaces (grid indices) towards the face."""
    return float(np.abs((one @ _TOWARDS).max(axis=0) - (other @ _TOWARDS).max(axis=0)).max()) * STEP


def _head(tissue: Bits) -> Bits:
    """The largest piece, filled slice by slice since a skull is dark, without what is thin (a headrest, a coil)."""
    closed = ndimage.binary_closing(np.pad(tissue, 3), iterations=2)[3:-3, 3:-3, 3:-3]
    flat = [np.expand_dims(ndimage.generate_binary_structure(2, 1), axis) for axis in range(3)]
    filled = np.any([ndimage.binary_fill_holes(closed, structure) for structure in flat], axis=0)
    pieces, count = ndimage.label(ndimage.binary_opening(filled, iterations=2))
    if not count:
        return np.zeros_like(tissue)
    return np.asarray(pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:])))


def _brain_like(values: Grid, head: Bits) -> Grid:
    """1 where CT numbers are those of brain, fluid or fresh blood, 0 in bone, fat and air."""
    like = (values > _BRAIN_HU[0]) & (values < _BRAIN_HU[1]) & head
    return np.asarray(ndimage.gaussian_filter(like.astype(np.float32), 0.5))


def _even(values: Grid, head: Bits, dark: float) -> Grid:
    """Without what a coil makes brighter nearby: divided by the mean of the head around each place."""
    weights = head.astype(np.float32)
    around = ndimage.gaussian_filter(weights, _WIDE / STEP)
    means = ndimage.gaussian_filter((values - dark) * weights, _WIDE / STEP) / np.maximum(around, 1e-3)
    typical = float(np.median(means[head]))
    evened = (values - dark) * typical / np.maximum(means, typical / 5)
    return np.asarray(np.where(around > 0.01, evened, 0) + dark, np.float32)


def _own(values: Grid, centre: Points, radius: float, dark: float, bright: float) -> float:
    """The median of what lies in the head's middle (the paper's t_m)."""
    away = sum((i - c) ** 2 for i, c in zip(np.indices(values.shape, np.float32), centre, strict=True))
    inside = values[(away < (0.8 * radius) ** 2) & (values > dark) & (values < bright)]
    if not inside.size:
        raise Unsuited("no brain was found in it")
    return float(np.median(inside))


@dataclass(frozen=True, slots=True)
class _Room:
    """What a brain has to fit into."""

    depth: Grid
    """Millimetres below the skin."""
    edge: Bits
    """Where the images end."""

    @classmethod
    def of(cls, head: Bits, seen: Bits) -> "_Room":
        depth = ndimage.distance_transform_edt(head | ~seen) * STEP
        return cls(depth.astype(np.float32), ~ndimage.binary_erosion(seen, iterations=2))

    def doubt(self, points: Points) -> str:
        """Why `points` (grid indices) may be no brain; empty where nothing speaks against it."""
        shape = np.array(self.depth.shape)
        if not np.isfinite(points).all() or (points < -2).any() or (points > shape + 1).any():
            return "no brain was found in it"
        millilitres = sphere().volume(points) * STEP**3 / 1000
        sides = zip(np.ptp(points, axis=0) * STEP, _EXTENTS, strict=True)
        if not _VOLUME[0] < millilitres < _VOLUME[1] or not all(low < side < high for side, (low, high) in sides):
            return "what was found in it has not the size of a brain"
        if millilitres < _ROUND * ConvexHull(points).volume * STEP**3 / 1000:
            return "what was found in it has not the shape of a brain"
        places = tuple(np.clip(np.rint(points), 0, shape - 1).astype(np.int64).T)
        if self.edge[places].mean() > _AT_EDGE:
            return "the brain reaches the edge of the images: part of it is not in them"
        upper = self.depth[places][points[:, 2] > points[:, 2].mean()]
        if np.percentile(upper, 5) < _UNDER_SKIN[0] or np.median(upper) > _UNDER_SKIN[1]:
            return "what was found in it does not lie under a skull"
        return ""
