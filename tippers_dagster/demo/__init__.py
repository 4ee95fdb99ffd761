"""The demo: a campus with everything computed, compared with the truth."""
