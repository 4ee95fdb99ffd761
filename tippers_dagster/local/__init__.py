"""The services on this machine: the embedded database, the local stack, and their checks."""
