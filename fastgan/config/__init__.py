"""Settings: their schema, validation and presets, and what stands for them on a command line and in a file."""
