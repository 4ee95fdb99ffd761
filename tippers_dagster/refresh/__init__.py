"""Which assets of the definitions are out of date, and asking for them."""
