"""Presentation states for tests, written by highdicom."""

import warnings

import highdicom
import pydicom
from pydicom.uid import generate_uid

NEEDED = ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID",
          "ReferringPhysicianName")  # fmt: skip


def graphic(kind, points, units="PIXEL", *, filled=False):
    """One graphic object; points are (column, row)."""
    return highdicom.pr.GraphicObject(kind, points, units, is_filled=filled)


def text(words, units="PIXEL", **place):
    """One text object with `bounding_box` or `anchor_point`."""
    return highdicom.pr.TextObject(text_value=words, units=units, **place)


def state(files, graphics=(), texts=(), windows=(), colour=None, **elements):
    """A GSPS of these files. `windows`: one for all (centre, width, function). `elements` are set at the end."""
    images = [pydicom.dcmread(f) for f in files]
    for one in images:
        for name in NEEDED:
            if name not in one:
                setattr(one, name, "")
    more = {}
    if graphics or texts:
        layer = highdicom.pr.GraphicLayer("ONE", order=1, display_color=colour)
        drawn = highdicom.pr.GraphicAnnotation(
            referenced_images=images, graphic_layer=layer, graphic_objects=list(graphics), text_objects=list(texts)
        )
        more = {"graphic_layers": [layer], "graphic_annotations": [drawn]}
    voi = [highdicom.pr.SoftcopyVOILUTTransformation(c, w, voi_lut_function=f) for c, w, f in windows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = highdicom.pr.GrayscaleSoftcopyPresentationState(
            referenced_images=images,
            series_instance_uid=generate_uid(),
            series_number=3,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="tests",
            manufacturer_model_name="tests",
            software_versions="1",
            device_serial_number="1",
            content_label="READ",
            voi_lut_transformations=voi or None,
            **more,
        )
    for name, value in elements.items():
        setattr(made, name, value)
    return made
