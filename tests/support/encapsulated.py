"""Encapsulated PDF whose pages have one colour each."""

import io

import matplotlib as mpl
import pydicom
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from pydicom.uid import generate_uid


def pdf(colours, size=(4, 5)):
    """A PDF of pages of `size` inches."""
    data = io.BytesIO()
    with PdfPages(data) as pages, mpl.rc_context({"pdf.compression": 0}):
        for colour in colours:
            pages.savefig(Figure(figsize=size, facecolor=colour))
    return data.getvalue()


def encapsulated(data, kind="application/pdf"):
    found = pydicom.Dataset()
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    found.SOPClassUID, found.SOPInstanceUID, found.Modality = "1.2.840.10008.5.1.4.1.1.104.1", generate_uid(), "DOC"
    found.MIMETypeOfEncapsulatedDocument = kind
    if data is not None:
        found.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    return found
