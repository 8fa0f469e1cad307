"""Measures a run; draws nothing."""
