"""Rules as pure functions of values."""
