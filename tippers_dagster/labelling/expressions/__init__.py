"""The small language that all compiled labelling functions are turned into, and its meaning."""
