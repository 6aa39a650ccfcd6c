"""A closed surface of triangles that starts as a sphere: what brain extraction inflates."""

from typing import Any

import numpy as np

from readingroom_hub.deid.faces.geometry import Points

Indices = np.ndarray[Any, np.dtype[np.int64]]
_GOLDEN = (1 + 5**0.5) / 2
_CORNERS = (
    *((-1, _GOLDEN, 0), (1, _GOLDEN, 0), (-1, -_GOLDEN, 0), (1, -_GOLDEN, 0)),
    *((0, -1, _GOLDEN), (0, 1, _GOLDEN), (0, -1, -_GOLDEN), (0, 1, -_GOLDEN)),
    *((_GOLDEN, 0, -1), (_GOLDEN, 0, 1), (-_GOLDEN, 0, -1), (-_GOLDEN, 0, 1)),
)
_FACES = (
    *((0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2), (10, 7, 6)),
    *((7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10)),
    *((8, 6, 7), (9, 8, 1)),
)
_SHELLS = (0.2, 0.4, 0.6, 0.8, 0.95)


class Sphere:
    """The unit sphere as an icosahedron whose triangles were cut in four `times` over."""

    def __init__(self, times: int) -> None:
        points, faces = np.array(_CORNERS) / np.hypot(1, _GOLDEN), np.array(_FACES)
        for _ in range(times):
            points, faces = _cut(points, faces)
        self.points: Points = points
        self.faces: Indices = faces
        self.rings, self.counts = _rings(faces, len(points))
        """The five or six neighbours of each point in turn; where there are five, the last stands twice."""

    def volume(self, points: Points) -> float:
        """The volume within `points`, one for each point of the sphere."""
        a, b, c = (points[self.faces[:, i]] for i in range(3))
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)

    def solid(self, points: Points) -> tuple[Points, Points]:
        """Places spread over the body within `points`, and what part of it each stands for.

        Moments of the body, not of its points: a surface that was pulled out somewhere has more of them there."""
        middle = points.mean(axis=0)
        a, b, c = (points[self.faces[:, i]] - middle for i in range(3))
        size, centre = np.abs(np.einsum("ij,ij->i", a, np.cross(b, c))), (a + b + c) / 3
        inside = np.concatenate([middle + shell * centre for shell in _SHELLS])
        return inside, np.concatenate([shell**2 * size for shell in _SHELLS])


def _cut(points: Points, faces: Indices) -> tuple[Points, Indices]:
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    middles = points[unique].sum(axis=1)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    ab, bc, ca = inverse.reshape(3, len(faces)) + len(points)
    a, b, c = faces.T
    quarters = [np.stack(t, axis=1) for t in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))]
    return np.concatenate([points, middles]), np.concatenate(quarters)


def _rings(faces: Indices, count: int) -> tuple[Indices, Indices]:
    following: list[dict[int, int]] = [{} for _ in range(count)]
    for a, b, c in faces.tolist():
        following[a][b], following[b][c], following[c][a] = c, a, b
    rings = np.empty((count, 6), np.int64)
    for point, after in enumerate(following):
        ring = [next(iter(after))]
        while len(ring) < len(after):
            ring.append(after[ring[-1]])
        rings[point] = ring + ring[-1:] * (6 - len(ring))
    return rings, np.array([len(after) for after in following])
