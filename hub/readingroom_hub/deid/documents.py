"""Encapsulated documents (PS3.3 A.45), whose content cannot be cleaned: an empty document in their place."""

from pydicom.dataset import Dataset

_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_CDA = "1.2.840.10008.5.1.4.1.1.104.2"
CLASSES = frozenset({_PDF, _CDA})
_EMPTY_CDA = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<ClinicalDocument xmlns="urn:hl7-org:v3">'
    b"<title>Removed in de-identification</title></ClinicalDocument>\n"
)


def blank(header: Dataset) -> None:
    """Put an empty document in place of the dummy in an encapsulated PDF or CDA.

    Models of surfaces, of faces too, are encapsulated objects of other classes: they are left out before."""
    sop_class = str(header.get("SOPClassUID", ""))
    if sop_class not in CLASSES:
        return
    content = _empty_pdf() if sop_class == _PDF else _EMPTY_CDA
    length = len(content)
    header.EncapsulatedDocument = content + b"\0" * (length % 2)
    if "EncapsulatedDocumentLength" in header:
        header.EncapsulatedDocumentLength = length


def _empty_pdf() -> bytes:
    """One empty page (ISO 32000-1 7.5)."""
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << >> >>",
    )
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size 4 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(out)
    return out + b"xref\n0 4\n0000000000 65535 f \n" + table + trailer
