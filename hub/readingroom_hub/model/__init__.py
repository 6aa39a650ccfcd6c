"""Values: frozen, validated, without I/O. Everything else speaks in these."""
