"""The mount daemon: the only process that holds data keys."""
