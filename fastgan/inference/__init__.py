"""A trained run in use: labels, samples, exports."""
