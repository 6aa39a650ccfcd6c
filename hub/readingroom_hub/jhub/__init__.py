"""The only importer of jupyterhub: authenticator, spawner, configuration."""
