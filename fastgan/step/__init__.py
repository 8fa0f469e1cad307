"""One training iteration, which never waits for the device: losses, optimisers, precision."""
