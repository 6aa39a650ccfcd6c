"""The trusted wing of Reading Room: holds keys, decides, records. Never runs a researcher's code."""
