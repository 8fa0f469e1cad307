"""Philox, a counter-based random stream: numbers are a pure function of (seed, offset, row, column)."""
