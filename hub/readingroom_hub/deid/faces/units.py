"""From stored values to what they measure."""

import pydicom


def rescale(header: pydicom.Dataset, number: int) -> tuple[float, float]:
    """Rescale Slope and Intercept of a frame (PS3.3 C.11.1, C.7.6.16.2.9), which give Hounsfield units in CT.

    1 and 0 where there are none."""
    where = [header]
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        groups = header.get(keyword) or []
        if groups:
            group = groups[min(number, len(groups) - 1)]
            where += list(group.get("PixelValueTransformationSequence") or [])
    for item in reversed(where):
        if item.get("RescaleSlope") and item.get("RescaleIntercept") is not None:
            return float(item.RescaleSlope), float(item.RescaleIntercept)
    return 1.0, 0.0
