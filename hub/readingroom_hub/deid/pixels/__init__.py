"""Text burnt into pixels: found, read, judged and masked (PS3.15 E.3.1, Clean Pixel Data Option)."""
