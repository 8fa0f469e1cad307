"""Adam over one flat buffer a parameter group."""
