"""The small language that labelling functions are compiled to, and its evaluation."""
