"""The optical paths of a slide (PS3.3 C.8.12.5): their names, the objective, and which colours their values mean."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, ImageCms

MOST_PROFILE = 4 * 1024 * 1024


def names(head: pydicom.Dataset, paths: Sequence[str]) -> tuple[str, ...]:
    """What each optical path is called."""
    said = {
        str(one.get("OpticalPathIdentifier")): str(one.get("OpticalPathDescription") or "")
        for one in head.get("OpticalPathSequence") or ()
    }
    return tuple(f"{path} {said.get(path, '')}".strip() for path in paths)


def objective(head: pydicom.Dataset) -> float | None:
    """Magnification of the objective, or None."""
    for one in head.get("OpticalPathSequence") or ():
        power = one.get("ObjectiveLensPower")
        try:
            if power and 0 < float(power) < 1000:
                return float(power)
        except ValueError:
            return None
    return None


class Profile:
    """An ICC profile (0028,2000): what the scanner's RGB values mean."""

    def __init__(self, data: bytes) -> None:
        """Raises ValueError where it is no profile of RGB, or larger than 4 MiB."""
        self.data = data[: int.from_bytes(data[:4])]
        """Without what fills the element up to an even length."""
        if len(data) > MOST_PROFILE:
            raise ValueError(f"it is larger than {MOST_PROFILE} bytes")
        try:
            read = ImageCms.ImageCmsProfile(io.BytesIO(self.data))
            # As browsers do: the perceptual table where there is one, and no compensation of the black point.
            self._transform = ImageCms.buildTransform(
                read, ImageCms.createProfile("sRGB"), "RGB", "RGB", ImageCms.Intent.PERCEPTUAL
            )
        except (ImageCms.PyCMSError, OSError, TypeError) as error:
            raise ValueError("it is no ICC profile of RGB colours") from error

    def shown(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Colours (rows, columns, 3) in sRGB."""
        changed = ImageCms.applyTransform(Image.fromarray(pixels), self._transform)
        return np.asarray(changed)


def profiles(head: pydicom.Dataset) -> dict[str, bytes]:
    """The ICC profile of each optical path that has one, as it is stored."""
    return {
        str(one.get("OpticalPathIdentifier")): bytes(one.ICCProfile)
        for one in head.get("OpticalPathSequence") or ()
        if isinstance(one.get("ICCProfile"), bytes) and one.ICCProfile
    }
