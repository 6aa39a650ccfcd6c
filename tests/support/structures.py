"""RT structure sets for tests, with contours known by construction."""

import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


def structure_set(structures, reference):
    """`structures`: (name, colour, contours), each contour a list of (x, y, z) in mm, LPS."""
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.Modality = "RTSTRUCT"
    made.StructureSetROISequence, made.ROIContourSequence = [], []
    for number, (name, colour, contours) in enumerate(structures, 1):
        roi, drawn = pydicom.Dataset(), pydicom.Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, reference
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        if colour:
            drawn.ROIDisplayColor = list(colour)
        for points in contours:
            contour = pydicom.Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
            contour.ContourData = [f"{v:.10g}" for point in points for v in point]
            drawn.ContourSequence.append(contour)
        made.StructureSetROISequence.append(roi)
        made.ROIContourSequence.append(drawn)
    return made


def box(top, left, bottom, right, z, origin=(-10.0, 20.0), spacing=(0.5, 0.75)):
    """A rectangle around the pixels from (top, left) up to, not with, (bottom, right), along their edges, in mm."""
    edge = [(top, left), (top, right), (bottom, right), (bottom, left)]
    return [(origin[0] + (c - 0.5) * spacing[1], origin[1] + (r - 0.5) * spacing[0], z) for r, c in edge]
