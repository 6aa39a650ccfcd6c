"""Faces before and after: made heads, or the files of a folder, cut and rendered from the front, the left and within.

Writes one sheet a head (`--sheets`) to be looked at, and tells how much brain and how much face went. Sheets of real
patients show faces: keep them where the originals are."""

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pydicom
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.dicom_objects import as_file
from tests.support.heads import CT, SAGITTAL, T1, T2, Head, Scan, series, turned

from readingroom_hub.deid import part10
from readingroom_hub.deid.faces import geometry, look, volume
from readingroom_hub.deid.part10 import CannotDeidentify

MADE = {
    "ct": (Head(), Scan(pixel=1.5, gap=2.0), CT),
    "ct-thick-tilted": (Head(axes=turned(-15, 5, 10)), Scan(pixel=1.5, gap=5.0, tilt=15), CT),
    "t1-sagittal": (Head(), Scan(*SAGITTAL, pixel=1.5, gap=2.0), T1),
    "t1-small-turned": (Head(size=0.85, axes=turned(20, 5, 10)), Scan(pixel=1.5, gap=3.0), T1),
    "t2-thick": (Head(axes=turned(5, -5, -10)), Scan(pixel=1.5, gap=5.0), T2),
}


def shaded(solid, axis):
    """A surface seen along an axis, bright where it faces the eye."""
    seen = np.moveaxis(solid[::-1] if axis == 0 else solid, axis, 0)
    depth = np.where(seen.any(axis=0), seen.argmax(axis=0), len(seen)).astype(float)
    smooth = ndimage.gaussian_filter(ndimage.median_filter(depth, 3), 0.7)
    slope = np.hypot(*np.gradient(smooth))
    light = np.where(depth < len(seen) - 2, 1 / np.sqrt(1 + slope**2), 0)
    return (light.T[::-1] * 255).astype(np.uint8)


def sheet(made, plane, modality):
    """Before above after: from the front, from the left, and the middle sagittal slice."""
    places = made.points(np.moveaxis(np.indices(made.values.shape), 0, -1).astype(float))
    air = made.values.min()
    after = np.where(places @ np.asarray(plane.normal) > plane.offset, air, made.values)
    low, high = (-200, 200) if modality == "CT" else tuple(np.percentile(made.values, (2, 99)))
    skin = -200 if modality == "CT" else low + 0.2 * (high - low)
    rows = []
    for values in (made.values, after):
        inside = np.clip((values[len(values) // 2].T[::-1] - low) / (high - low), 0, 1) * 255
        rows.append(np.hstack([shaded(values > skin, 1), shaded(values > skin, 0), inside.astype(np.uint8)]))
    return cv2.resize(np.vstack(rows), None, fx=2, fy=2)


def random_heads(count):
    """Heads of many sizes, held in many ways, in slices that lie in many ways."""
    random = np.random.default_rng(1)
    for number in range(count):
        size, pose = random.uniform(0.8, 1.05), [random.uniform(-a, a) for a in (25, 15, 20)]
        scan = Scan(pixel=2.5, gap=float(random.choice([2, 3, 5])), tilt=float(random.choice([0, 0, 15])))
        kind = ("ct", "t1", "t2")[number % 3]
        yield f"{kind}-{number}", (Head(size=size, axes=turned(*pose)), scan, (CT, T1, T2)[number % 3])


def truth(head, objects, plane):
    """Voxels of the brain that are cut, millimetres from brain to plane, and what part of nose and eyes is cut."""
    brain = shown = gone = 0
    nearest = np.inf
    for one in objects:
        frame = geometry.frames(one)[0]
        steps = (
            np.arange(frame.rows)[:, None, None] * frame.down + np.arange(frame.columns)[None, :, None] * frame.right
        )
        beyond, features = frame.beyond(plane), head.features(frame.origin + steps)
        inside = head.brain(frame.origin + steps)
        brain += int((beyond & inside).sum())
        if inside.any():
            distances = plane.offset - (frame.origin + steps)[inside] @ np.asarray(plane.normal)
            nearest = min(nearest, float(distances.min()))
        shown, gone = shown + int(features.sum()), gone + int((beyond & features).sum())
    return {"brain_voxels_cut": brain, "nearest_brain_mm": round(nearest, 1), "face_cut": round(gone / shown, 3)}


def measure(name, objects, files, head, sheets):
    start = time.perf_counter()
    try:
        plane = look.find(files)
    except CannotDeidentify as error:
        return {"head": name, "left_out": str(error)}
    row = {"head": name, "slices": len(files), "seconds": round(time.perf_counter() - start, 2)}
    if head:
        row |= truth(head, objects, plane)
    if sheets:
        stack = [frame for file in files for frame in look.slices_of(file)]
        picture = sheet(volume.build(stack), plane, str(files[0].header.Modality))
        cv2.imwrite(str(sheets / f"{name}.png"), picture)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sheets", type=Path, help="folder for PNG sheets")
    parser.add_argument("--folder", type=Path, help="the files of one series, instead of made heads")
    parser.add_argument("--random", type=int, metavar="N", help="so many heads made at random, instead of the five")
    options = parser.parse_args()
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
    rows = []
    if options.folder:
        data = [p.read_bytes() for p in sorted(options.folder.rglob("*")) if p.is_file()]
        files = [part10.read(d) for d in data if d[128:132] == b"DICM"]
        rows.append(measure(options.folder.name, [], files, None, options.sheets))
    else:
        heads = random_heads(options.random) if options.random else MADE.items()
        for name, (head, scan, levels) in heads:
            objects = series(head, scan, levels)
            with pydicom.config.disable_value_validation():
                files = [part10.read(as_file(o)) for o in objects]
            rows.append(measure(name, objects, files, head, options.sheets))
    for row in rows:
        print(json.dumps(row) if options.json else "  ".join(f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
