"""De-identification: DICOM PS3.15 Annex E, from the standard's own table. Pure: bytes in, bytes out."""
