"""Labelling functions, their votes, and label models."""
