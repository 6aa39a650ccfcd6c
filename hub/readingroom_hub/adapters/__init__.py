"""Ports on real media: SQLite, directories, sockets."""
