"""Settings: schema, limits, validation and presets; how a command line and run.json are read into them."""
