"""The embedded deployment: every process of one machine, started in order, watched, and stopped together."""
