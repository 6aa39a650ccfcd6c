"""A volume drawn whole, seen from any side. The browser draws it by vtk.js, loaded when such a view is shown."""

import dataclasses
import zlib
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import numpy.typing as npt
import traitlets

from readingroom import geometry, saved
from readingroom.errors import AccessEnded, BadInput, NotFound, ReadingRoomError
from readingroom.files import check_readable, dataset_at
from readingroom.planes import Stored
from readingroom.viewers import render
from readingroom.viewers.scripts import STATIC, script, served
from readingroom.viewers.transfer import looks_of
from readingroom.viewers.voxels import voxels_of
from readingroom.volume import Volume

_SIDES = {"A": "front", "P": "back", "L": "left", "R": "right", "H": "head", "F": "feet"}


class VolumeView(anywidget.AnyWidget, ipywidgets.DOMWidget):  # type: ignore[misc,unused-ignore]
    """A volume rendered by transfer function. `preset`, `azimuth`, `elevation` and `zoom` can be set and observed.

    The still picture that a saved page keeps is a maximum intensity projection in the same direction."""

    _esm = script("rendering")
    _css = STATIC / "series.css"

    preset = traitlets.Unicode(help="One of `presets`.").tag(sync=True)
    azimuth = traitlets.Float(
        0.0, help="Degrees round the body, -180 to 180: 0 from the front, 90 from the patient's left."
    ).tag(sync=True)
    elevation = traitlets.Float(0.0, help="Degrees towards the head, -90 (from the feet) to 90.").tag(sync=True)
    zoom = traitlets.Float(1.0, help="1 fits the volume into the view at any angle; 0.2 to 20.").tag(sync=True)
    about = traitlets.Dict(read_only=True, help="Title, shape and place of the voxels, presets.").tag(sync=True)

    def __init__(self, volume: Volume, **traits: Any) -> None:
        self._static = saved.kept(traits.pop("static", None))
        unknown = set(traits) - {"preset", "azimuth", "elevation", "zoom", "layout"}
        if unknown:
            raise BadInput(
                f"This view has no {', '.join(sorted(unknown))}: it has preset, azimuth, elevation, zoom and static."
            )
        self._voxels = voxels_of(volume)
        self._looks = looks_of(self._voxels, volume.modality)
        self._folder = volume.folder
        self._dataset = "" if volume.folder is None else dataset_at(volume.folder / "file")
        self._title = " ".join(f"{volume.modality} {volume.description}".split())
        super().__init__(**{"preset": self.presets[0], **traits})
        self.set_trait("about", self._description())
        self.on_msg(self._answer)

    @property
    def presets(self) -> tuple[str, ...]:
        """The names of the transfer functions that fit these values."""
        return tuple(self._looks)

    def _description(self) -> dict[str, Any]:
        return {
            "title": self._title,
            "shape": self._voxels.array.shape,
            "whole": self._voxels.whole,
            "affine": self._voxels.affine.ravel().tolist(),
            "reach": self._voxels.reach,
            "slope": self._voxels.slope,
            "intercept": self._voxels.intercept,
            "looks": {name: dataclasses.asdict(look) for name, look in self._looks.items()},
            "script": served("volume"),
        }

    @traitlets.validate("preset")
    def _valid_preset(self, proposal: Any) -> str:
        name = str(proposal["value"])
        if name not in self._looks:
            raise traitlets.TraitError(f"preset={name!r}: there are {', '.join(map(repr, self._looks))}.")
        return name

    @traitlets.validate("azimuth", "elevation")
    def _valid_angle(self, proposal: Any) -> float:
        value, name = float(proposal["value"]), proposal["trait"].name
        if not np.isfinite(value):
            raise traitlets.TraitError(f"{name}={value:g}: give degrees.")
        return (value + 180) % 360 - 180 if name == "azimuth" else min(max(value, -90.0), 90.0)

    @traitlets.validate("zoom")
    def _valid_zoom(self, proposal: Any) -> float:
        if not np.isfinite(proposal["value"]):
            raise traitlets.TraitError(f"zoom={proposal['value']:g}: give a factor, 0.2 to 20.")
        return float(min(max(proposal["value"], 0.2), 20.0))

    # The browser always pulls: what Python sends before a view is up is lost.
    def _answer(self, _widget: Any, content: Any, _buffers: Any) -> None:
        kind, number = (content.get("k"), content.get("n")) if isinstance(content, dict) else (None, None)
        if kind not in {"voxels", "still"}:
            return
        try:
            self.check()
        except ReadingRoomError as error:
            ended = isinstance(error, (AccessEnded, NotFound))
            self.send({"k": "error", "n": number, "text": str(error), "ended": ended})
            return
        if kind == "still":
            self.send({"k": "still", "n": number})
        else:
            # Half of the bytes for some tenths of a second: they travel once.
            little = np.ascontiguousarray(self._voxels.array, "<i2")
            self.send({"k": "voxels", "n": number}, [zlib.compress(little.data.cast("B"), 1)])

    def check(self) -> None:
        """Raise AccessEnded or NotFound where the files may not be read any more. Reads no file."""
        if self._folder is not None:
            check_readable(self._folder, self._dataset)

    def _axes(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """From the volume to who looks, and up on the picture: unit vectors in the patient, LPS. As in rendering.ts."""
        turn, rise = np.radians([self.azimuth, self.elevation])
        towards = np.array([np.sin(turn) * np.cos(rise), -np.cos(turn) * np.cos(rise), np.sin(rise)])
        up = np.array([-np.sin(turn) * np.sin(rise), np.cos(turn) * np.sin(rise), np.cos(rise)])
        return towards, up

    def describe(self) -> str:
        """What is on the screen in words: title, preset, direction."""
        towards, _ = self._axes()
        seen = geometry.letters((*towards, *towards))[1]
        sides = " and ".join(_SIDES[letter] for letter in seen)
        return f"{self._title}: {self.preset}, seen from {sides} ({seen}){self._fewer()}"

    def _words(self) -> str:
        told = "" if self._static == "none" else ". The picture is a maximum intensity projection."
        return self.describe() + told

    def _fewer(self) -> str:
        shape = self._voxels.array.shape
        if shape == self._voxels.whole:
            return ""
        return f", {' x '.join(map(str, shape))} voxels of {' x '.join(map(str, self._voxels.whole))}"

    def snapshot(self) -> bytes:
        """A PNG of the highest values in the same direction, at the same zoom. Raises AccessEnded, NotFound."""
        self.check()
        towards, up = self._axes()
        (low, _), *_, (high, _) = self._looks["MIP"].opacity
        values = np.nan_to_num(self._voxels.projected(towards, up, self.zoom), nan=low)
        grey = render.grey_levels(Stored(values), ((low + high) / 2, high - low), function="LINEAR_EXACT")
        return render.still(grey, (1.0, 1.0), 1.0, (0.0, 0.0), f"{self.describe()}: maximum intensity projection")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live view, and a still picture with its words for wherever no kernel runs: saved pages, nbconvert."""
        return saved.beside(super()._repr_mimebundle_(**kwargs), self._static, self.snapshot, self._words)
