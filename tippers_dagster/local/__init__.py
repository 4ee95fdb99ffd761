"""What runs on this machine: the embedded database, the stack, and their examination."""
