"""Labelling functions, votes, label models."""
