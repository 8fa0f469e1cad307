"""Sweeps: many runs, and the table of their results."""
