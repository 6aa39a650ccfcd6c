"""The portal: pages and the REST API, behind the same services as the command line."""
