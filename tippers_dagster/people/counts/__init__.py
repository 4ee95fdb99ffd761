"""People estimated from devices."""
