"""The composition root: settings in, adapters and services out. Nothing else names an adapter."""
