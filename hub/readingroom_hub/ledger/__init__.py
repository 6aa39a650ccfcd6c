"""The log: canonical records, RFC 6962 tree, C2SP signed notes and checkpoints, verification. No I/O."""
