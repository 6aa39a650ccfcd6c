"""Three planes through one volume with a linked crosshair. Every pixel is a voxel: nothing is interpolated."""

from dataclasses import dataclass, replace
from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt
import traitlets

from readingroom import geometry, saved
from readingroom.errors import BadInput
from readingroom.planes import Stored
from readingroom.viewers import render
from readingroom.viewers.measure import Place
from readingroom.viewers.pictures import About, Pictures, pictures_of, placed
from readingroom.viewers.series import SeriesView
from readingroom.volume import Volume

# Patient axes (LPS: 0 left, 1 back, 2 head) of slices, rows and columns, and whether they run against the axis. As at
# a workstation: axial from the feet, coronal from the front, sagittal from the left.
_PLANES = {
    "axial": ((2, 1), (1, 1), (0, 1)),
    "coronal": ((1, 1), (2, -1), (0, 1)),
    "sagittal": ((0, 1), (2, -1), (1, 1)),
}


def _mean(slab: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of the numbers there are."""
    if slab.dtype.kind != "f":
        return np.asarray(slab.mean(axis=0))
    known = np.isfinite(slab)
    total, count = np.where(known, slab, 0).sum(axis=0), known.sum(axis=0)
    mean = np.full(total.shape, np.nan, total.dtype)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


# Where a slab leaves an oblique volume there is no number: these take what there is.
_SLABS: dict[str, Any] = {"max": np.fmax.reduce, "min": np.fmin.reduce, "mean": _mean}


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """How one plane lies in the volume: `affine @ (slice, row, column, 1)` is the place of its pixel in mm, LPS."""

    array: npt.NDArray[Any]
    """A view of the volume's array, not a copy: (slices, rows, columns) of this plane."""
    affine: npt.NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Between slices, rows, columns, in mm."""
        return tuple(float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def orientation(self) -> tuple[float, ...]:
        """Direction cosines of the rows, then of the columns."""
        axes = self.affine[:3, [2, 1]] / np.linalg.norm(self.affine[:3, [2, 1]], axis=0)
        return tuple(float(v) for v in axes.T.ravel())

    def voxel(self, place: tuple[float, ...]) -> tuple[int, int, int]:
        """The (slice, row, column) nearest to a place in mm, kept within the volume."""
        found = np.linalg.solve(self.affine, np.array([*place, 1.0]))[:3]
        slices, rows, columns = np.clip(np.floor(found + 0.5), 0, np.array(self.array.shape) - 1).astype(int)
        return int(slices), int(rows), int(columns)

    def place(self, voxel: tuple[int, ...]) -> tuple[float, float, float]:
        """Where a voxel's centre lies, in mm, LPS."""
        x, y, z, _ = self.affine @ np.array([*voxel, 1.0])
        return float(x), float(y), float(z)


def cut(volume: Volume, plane: str) -> Cut:
    """The volume seen as `plane`, along the voxel axes that lie nearest to the patient's.

    Raises BadInput for a plane that is none of axial, coronal, sagittal."""
    if plane not in _PLANES:
        raise BadInput(f"There is no plane {plane!r}: there are axial, coronal and sagittal.")
    nearest = _nearest_axes(volume.affine)
    order = [nearest[axis] for axis, _ in _PLANES[plane]]
    array = volume.array.transpose(order)
    affine = volume.affine.copy()
    affine[:, :3] = volume.affine[:, order]
    for i, (axis, sign) in enumerate(_PLANES[plane]):
        if affine[axis, i] * sign < 0:
            affine[:3, 3] += affine[:3, i] * (array.shape[i] - 1)
            affine[:3, i] *= -1
            array = np.flip(array, i)
    return Cut(array, affine)


def _nearest_axes(affine: npt.NDArray[np.float64]) -> dict[int, int]:
    """For each patient axis the voxel axis that is most along it; each voxel axis is taken once."""
    cosines = np.abs(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    found: dict[int, int] = {}
    for _ in range(3):
        axis, voxel = np.unravel_index(int(cosines.argmax()), cosines.shape)
        found[int(axis)] = int(voxel)
        cosines[axis, :] = cosines[:, voxel] = -1
    return found


@dataclass(frozen=True, slots=True, eq=False)
class SlabPictures:
    """Pictures that each show several slices at once: their maximum, minimum or mean."""

    array: npt.NDArray[Any]
    about: About
    affine: npt.NDArray[np.float64]
    count: int
    """Slices in a slab. At the ends of the volume a slab holds fewer."""
    how: str

    def stored(self, index: int) -> Stored:
        """See Pictures."""
        first = max(index - (self.count - 1) // 2, 0)
        slab = self.array[first : index + self.count // 2 + 1]
        return Stored(_SLABS[self.how](slab).astype(np.float32 if self.how == "mean" else self.array.dtype))

    def place(self, index: int) -> Place:
        """See Pictures."""
        return placed(self.affine, index)


def _check_slab(slab: float, how: str) -> None:
    if how not in _SLABS or not (np.isfinite(slab) and slab >= 0):
        raise BadInput(f"slab={slab!r}, how={how!r}: give a thickness in mm, 0 or more, and 'max', 'min' or 'mean'.")


def in_slabs(volume: Volume, slab: float, how: str) -> Pictures:
    """The slices of a volume, each picture `slab` mm thick. Raises BadInput."""
    _check_slab(slab, how)
    count = max(round(slab / volume.spacing[0]), 1)
    return SlabPictures(volume.array, pictures_of(volume).about, volume.affine, count, how)


def pictures_of_plane(volume: Volume, plane: str, slab: float = 0.0, how: str = "max") -> tuple[Cut, Pictures]:
    """Pictures of one plane; `slab` mm thick where it is not 0. Raises BadInput."""
    _check_slab(slab, how)
    seen = cut(volume, plane)
    about = replace(
        pictures_of(seen.array, seen.spacing).about,
        title=" ".join(f"{volume.modality} {volume.description} {plane}".split()),
        modality=volume.modality,
        edges=geometry.letters(seen.orientation),
        window=volume.window,
        function=volume.function if volume.function == "SIGMOID" else pictures_of(seen.array).about.function,
        unit=volume.unit,
        length_unit="mm",
        located=True,
        frame_of_reference=volume.frame_of_reference,
        folder=volume.folder,
    )
    count = max(round(slab / seen.spacing[0]), 1)
    return seen, SlabPictures(seen.array, about, seen.affine, count, how)


class MprView(ipywidgets.HBox):  # type: ignore[misc,unused-ignore]
    """Axial, coronal and sagittal side by side. `crosshair` (x, y, z in patient mm, LPS) can be set and observed."""

    crosshair = traitlets.Tuple(traitlets.Float(), traitlets.Float(), traitlets.Float(), help="mm, LPS")

    def __init__(
        self, volume: Volume, slab: float = 0.0, how: str = "max", window: Any = None, static: str | None = None
    ) -> None:
        made = {plane: pictures_of_plane(volume, plane, slab, how) for plane in _PLANES}
        self._cuts = {plane: seen for plane, (seen, _) in made.items()}
        first = self._cuts["axial"]
        middle = first.place(tuple(n // 2 for n in first.array.shape))
        self._static = saved.kept(static)
        # The window of all three is that of the axial plane: two pictures of one volume are compared by their grey.
        views: dict[str, SeriesView] = {}
        for plane, (seen, pictures) in made.items():
            index, *cross = seen.voxel(middle)
            chosen = window or (views["axial"].window if views else None)
            traits = {"index": index, "cross": cross} | ({"window": chosen} if chosen else {})
            views[plane] = SeriesView(
                pictures, static=self._static, layout={"flex": "1 1 0", "min_width": "0"}, **traits
            )
        self.views = views
        super().__init__(list(views.values()), crosshair=middle, layout={"width": "100%"})
        for plane, view in views.items():
            view.observe(lambda _change, plane=plane: self._moved(plane), ["index", "cross"])
            view.observe(self._windowed, ["window", "invert"])

    def _moved(self, plane: str) -> None:
        view, seen = self.views[plane], self._cuts[plane]
        if seen.voxel(self.crosshair) != (view.index, *view.cross):
            self.crosshair = seen.place((view.index, *view.cross))

    def _windowed(self, change: Any) -> None:
        for view in self.views.values():
            setattr(view, change["name"], change["new"])

    @traitlets.validate("crosshair")
    def _valid_crosshair(self, proposal: Any) -> tuple[float, float, float]:
        if not np.isfinite(proposal["value"]).all():
            raise traitlets.TraitError(f"crosshair={proposal['value']}: give three numbers in mm.")
        seen = self._cuts["axial"]
        return seen.place(seen.voxel(proposal["value"]))

    @traitlets.observe("crosshair")
    def _follow(self, _change: Any) -> None:
        for plane, view in getattr(self, "views", {}).items():
            index, *cross = self._cuts[plane].voxel(self.crosshair)
            # Both at once: a view that is half moved would move the crosshair back.
            with view.hold_trait_notifications():
                view.index, view.cross = index, cross

    def describe(self) -> str:
        """The three pictures in words."""
        return "; ".join(view.describe() for view in self.views.values())

    def snapshot(self) -> bytes:
        """A PNG of the three pictures, side by side."""
        return render.side_by_side([view.snapshot() for view in self.views.values()])

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live view, and a still picture with its words for wherever no kernel runs."""

        def still() -> bytes:
            return render.side_by_side([view.first_snapshot() for view in self.views.values()])

        return saved.beside(super()._repr_mimebundle_(**kwargs), self._static, still, self.describe)
