"""RT doses for tests, with values known by construction."""

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


def dose_of(gray, *, position, spacing, offsets, reference, cosines=(1, 0, 0, 0, 1, 0), units="GY", bits=32):
    """An RTDOSE of `gray` (planes, rows, columns) in Gy. `offsets`: its Grid Frame Offset Vector, as it is stored."""
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.2"
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.Modality, made.FrameOfReferenceUID = "RTDOSE", reference
    made.DoseUnits, made.DoseType, made.DoseSummationType = units, "PHYSICAL", "PLAN"
    scaling = max(float(gray.max()), 1e-6) / (2**bits - 1)
    made.DoseGridScaling = f"{scaling:.10e}"
    made.ImagePositionPatient, made.ImageOrientationPatient = list(position), list(cosines)
    made.PixelSpacing, made.GridFrameOffsetVector = list(spacing), [f"{v:.10g}" for v in offsets]
    made.NumberOfFrames, made.Rows, made.Columns = gray.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit, made.PixelRepresentation = bits - 1, 0
    made.PixelData = np.floor(gray / float(made.DoseGridScaling) + 0.5).astype(f"<u{bits // 8}").tobytes()
    made["PixelData"].VR = "OW"
    return made
