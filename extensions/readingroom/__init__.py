"""Reading Room in the notebook: the untrusted wing. Holds no key, decides nothing."""
