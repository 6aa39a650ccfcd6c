"""Encryption of objects and keys, from `cryptography` only. No I/O."""
