"""Adam, with one flat buffer for each parameter group."""
