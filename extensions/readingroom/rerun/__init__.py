"""Reruns: a notebook on a dataset version by digest, in a sealed kernel, its outputs compared with the stored ones."""
