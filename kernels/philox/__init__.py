"""Random numbers as a pure function of (seed, offset, row, column): Philox, one stream for every op."""
