"""The plane that parts the face from the brain, after N. Schimke and J. Hale, Quickshear defacing for neuroimages,
Proceedings of the 2nd USENIX Workshop on Health Security and Privacy (2011).

In the sagittal view a line along an edge of the convex hull of the brain, moved away from the brain by a margin: what
lies before and below it is face. No point of the brain does, whatever the edge. Here the sagittal view is that of the
head, not of the scanner: patients turn and nod."""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize
from scipy.spatial import ConvexHull

from readingroom_hub.deid.faces.brain import Brain, sphere
from readingroom_hub.deid.faces.geometry import Bits, Plane, Points
from readingroom_hub.deid.faces.volume import STEP, Volume
from readingroom_hub.deid.part10 import CannotDeidentify

MARGIN = 6.0
"""Millimetres between brain and plane. The paper asks for 10 voxels; half as much spares more eyes than brain."""
_STEEP, _LEAST, _MOST = 47.0, 38.0, 58.0
"""Degrees by which the plane's normal points below forward: best, and between which an edge of the hull is taken."""
_AXIS_UP = 13.0
"""Degrees by which the long axis of a brain points above forward when the head is held straight."""
_TURNED, _NODDED = 40.0, 22.0
_BALL, _COARSE, _ALIKE = 95.0, 3, 0.75
# Millimetres: how far a head reaches from the middle of its brain; where its face is below the foremost brain.
_HEAD, _HALF_FACE, _BROW, _CHIN, _JUTS = 140.0, 35.0, 25.0, 70.0, 10.0
_MOST_CUT, _LITTLE = 0.4, 200


@dataclass(frozen=True, slots=True)
class Pose:
    """How a head is held: unit vectors in patient coordinates."""

    left: Points
    forward: Points
    up: Points
    alike: float
    """How much its halves resemble each other (correlation)."""


def pose(brain: Brain, volume: Volume, limits: tuple[float, float]) -> Pose:
    """From what head and brain are symmetric about, and the long axis of the brain. Raises CannotDeidentify."""
    left, alike = _left(brain, volume, limits)
    if alike < _ALIKE:
        raise CannotDeidentify("the halves of the head do not resemble each other: nobody can tell where its face is")
    straight = np.array([0.0, -1.0, 0.0])
    forward = straight - (straight @ left) * left
    forward /= np.linalg.norm(forward)
    up = np.cross(forward, left)
    inside, weights = sphere().solid(brain.points)
    flat = np.stack([inside @ forward, inside @ up])
    axis = np.linalg.eigh(np.cov(flat, aweights=weights))[1][:, 1]
    axis *= np.sign(axis[0])
    nod = np.degrees(np.arctan2(axis[1], axis[0])) - _AXIS_UP
    if abs(nod) > _NODDED:
        raise CannotDeidentify(
            "the head is bent too far, or the header takes back for front: nobody can tell where its face is"
        )
    turn = np.radians(nod)
    return Pose(
        left, np.cos(turn) * forward + np.sin(turn) * up, np.cos(turn) * up - np.sin(turn) * forward, float(alike)
    )


def _left(brain: Brain, volume: Volume, limits: tuple[float, float]) -> tuple[Points, float]:
    """The normal of the plane that mirrors the head best, and how well it does."""
    middle = brain.points.mean(axis=0)
    values = np.where(volume.seen, np.clip(volume.values, *limits), limits[0])
    smooth = ndimage.gaussian_filter(values, 2)
    grid = np.stack(np.meshgrid(*[np.arange(0, n, _COARSE) for n in smooth.shape], indexing="ij"), axis=-1)
    points = volume.points(grid.reshape(-1, 3).astype(np.float64))
    points = points[np.linalg.norm(points - middle, axis=1) < _BALL]

    def sample(at: Points) -> Points:
        places = (at - volume.origin) / STEP
        return np.asarray(ndimage.map_coordinates(smooth, places.T, order=1, cval=limits[0]), np.float64)

    here = sample(points)

    def unlike(held: Points) -> float:
        normal, shift = _normal(held[0], held[1]), held[2]
        away = (points - middle) @ normal - shift
        there = sample(points - 2 * away[:, None] * normal)
        return -float(np.corrcoef(here, there)[0, 1])

    turns = np.arange(-_TURNED, _TURNED + 1, 10)
    start = min(((yaw, roll, 0.0) for yaw, roll in itertools.product(turns, turns)), key=lambda h: unlike(np.array(h)))
    simplex = np.array(start) + np.array([(0, 0, 0), (6, 0, 0), (0, 6, 0), (0, 0, 4)])
    best = optimize.minimize(
        unlike, start, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 0.3, "fatol": 1e-4}
    )
    return _normal(best.x[0], best.x[1]), -float(best.fun)


def _normal(yaw: float, roll: float) -> Points:
    """Left, turned by degrees about the axis of the body, then about its front."""
    a, b = np.radians(yaw), np.radians(roll)
    return np.array([np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), np.sin(b)])


def shear(brain: Brain, held: Pose) -> Plane:
    """The plane. The whole brain, MARGIN around it included, lies on its near side."""
    flat = np.stack([brain.points @ held.forward, -(brain.points @ held.up)], axis=1)
    hull = ConvexHull(flat)
    edges = [(np.degrees(np.arctan2(n[1], n[0])), n) for n in hull.equations[:, :2]]
    able = [(abs(angle - _STEEP), tuple(n)) for angle, n in edges if _LEAST < angle < _MOST]
    best = np.radians(_STEEP)
    forward, down = min(able)[1] if able else (np.cos(best), np.sin(best))
    normal = forward * held.forward - down * held.up
    offset = float((brain.points @ normal).max()) + MARGIN
    return Plane((float(normal[0]), float(normal[1]), float(normal[2])), offset)


def check(plane: Plane, brain: Brain, held: Pose, volume: Volume) -> None:
    """Raise CannotDeidentify where a plane parts the head in a way no face does.

    Where the images reach below the brow, a face juts out there as far as the brain, or farther: a neck does not, so a
    header that takes back for front does not pass. Much of the head stays."""
    points = volume.points(np.argwhere(brain.head)[::3].astype(np.float64))
    near = np.linalg.norm(points - brain.points.mean(axis=0), axis=1) < _HEAD
    cut = points @ np.asarray(plane.normal) > plane.offset
    if cut[near].mean() > _MOST_CUT:
        raise CannotDeidentify("more of the head would be cut away than a face: nobody can tell where it is")
    front = brain.points @ held.forward
    brow = brain.points[int(front.argmax())] @ held.up
    middle = brain.points.mean(axis=0) @ held.left
    grid = np.stack(np.meshgrid(*[np.arange(0, n, 2) for n in volume.seen.shape], indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    seen = volume.points(grid[volume.seen[tuple(grid.T)]].astype(np.float64))

    def face(at: Points, ahead: float) -> Bits:
        down = brow - at @ held.up
        wide = np.abs(at @ held.left - middle) < _HALF_FACE
        return np.asarray(wide & (down > _BROW) & (down < _CHIN) & (at @ held.forward > front.max() + ahead))

    if face(seen, 0).sum() > _LITTLE and not face(points, _JUTS).any():
        raise CannotDeidentify("no face where it should be: it was cut away before, or the header takes back for front")
