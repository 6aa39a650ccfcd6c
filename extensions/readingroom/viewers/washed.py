"""The part of a view that shows a dose: traits for its colours, threshold and opacity."""

from pathlib import Path
from typing import Any, Self

import ipywidgets
import numpy as np
import numpy.typing as npt
import traitlets

from readingroom.errors import BadInput
from readingroom.files import dataset_at
from readingroom.viewers import dose as doses
from readingroom.viewers.pictures import About, Pictures


class Washed(ipywidgets.DOMWidget):  # type: ignore[misc,unused-ignore]
    """A dose as a colour wash. `dose_threshold` and `dose_opacity` can be set and observed."""

    wash = traitlets.Dict(read_only=True, help="Title, unit, highest and colours of the dose; empty for none.").tag(
        sync=True
    )
    dose_threshold = traitlets.Float(0.0, help="Doses below it are not shown, in the dose's unit.").tag(sync=True)
    dose_opacity = traitlets.Float(0.5, help="0 shows no dose, 1 hides the picture.").tag(sync=True)

    _pictures: Pictures
    _about: About
    _dose: doses.Dose | None = None
    _folders: dict[Path, str]

    @traitlets.validate("dose_threshold")
    def _valid_threshold(self, proposal: Any) -> float:
        value = float(proposal["value"])
        if not (np.isfinite(value) and value >= 0):
            raise traitlets.TraitError(f"dose_threshold={value:g}: give a dose of 0 or more.")
        return value

    @traitlets.validate("dose_opacity")
    def _valid_opacity(self, proposal: Any) -> float:
        return float(min(max(proposal["value"], 0.0), 1.0))

    def dose(self, path: str | Path, threshold: float | None = None, opacity: float = 0.5) -> Self:
        """Lay an RTDOSE over the pictures, interpolated where it lies in the patient; answers the view itself.

        `threshold`: least dose that is shown, in Gy; a tenth of the highest where none is given. Raises BadInput, which
        says why it cannot be laid here, AccessEnded, Damaged, NotFound."""
        if not 0 <= opacity <= 1 or (threshold is not None and not threshold >= 0):
            raise BadInput(f"threshold={threshold}, opacity={opacity}: give a dose of 0 or more, and 0 to 1.")
        about = self._about
        if not about.located:
            raise BadInput("These pictures have no place in the patient, so no dose can be laid on them.")
        found = doses.dose_of(Path(path), dataset_at(Path(path)), about.frame_of_reference)
        self._dose = found
        self._folders[Path(path).absolute().parent] = dataset_at(Path(path))
        with self.hold_sync():
            self.dose_threshold = found.highest / 10 if threshold is None else threshold
            self.dose_opacity = opacity
            self.set_trait(
                "wash",
                {
                    "title": found.title,
                    "unit": found.unit,
                    "highest": found.highest,
                    "colours": doses.colour_table().ravel().tolist(),
                },
            )
        return self

    def clear_dose(self) -> None:
        """Take the dose away."""
        self._dose = None
        self.set_trait("wash", {})

    def dose_values(self, index: int) -> npt.NDArray[np.float32]:
        """Doses at the pixels of one picture, (rows, columns) in Gy; no number outside the dose grid.

        Raises BadInput where no dose is shown."""
        if self._dose is None:
            raise BadInput("No dose is shown in this view: give one by view.dose(path).")
        return self._dose.on(self._pictures.place(index), (self._about.rows, self._about.columns))

    def _dose_codes(self, index: int) -> npt.NDArray[np.uint16] | None:
        """What the browser gets of one picture; None where no dose is shown."""
        return None if self._dose is None else doses.codes(self.dose_values(index), self._dose.highest)

    def _wash_over(self, grey: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.uint8]:
        coded = self._dose_codes(index)
        if coded is None or self._dose is None:
            return grey
        return doses.washed(grey, coded, self._dose.highest, self.dose_threshold, self.dose_opacity)

    def _dose_bar(self) -> tuple[npt.NDArray[np.uint8], str, str] | None:
        """Colours from no dose to the highest, and the words at both ends, for a still picture."""
        if self._dose is None:
            return None
        return doses.colour_table(), "0", f"{self._dose.highest:.4g} {self._dose.unit}"

    def _dose_words(self) -> str:
        if self._dose is None:
            return ""
        return f", dose from {self.dose_threshold:.4g} to {self._dose.highest:.4g} {self._dose.unit}"
