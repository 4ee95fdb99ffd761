"""The local stack: `tippers up`, health checks, and `tippers doctor`."""
