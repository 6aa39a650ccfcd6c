"""The demonstration: a synthetic hospital, demo people, an identity provider, and a check of the whole path."""
