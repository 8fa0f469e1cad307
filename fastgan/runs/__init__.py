"""A run on disk: its folder, settings, checkpoints and metrics."""
