"""De-identification after PS3.15 Annex E, driven by the table of the standard. No I/O beyond its own data files."""
