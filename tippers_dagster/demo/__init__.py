"""The demonstration: a campus, everything computed, and the counts judged by the truth."""
