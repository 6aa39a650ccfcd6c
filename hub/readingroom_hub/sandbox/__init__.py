"""What surrounds a user server: namespaces, seccomp, limits, and the one door out."""
