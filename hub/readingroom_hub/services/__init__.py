"""Use cases. They decide by policy, record first, then act through ports."""
