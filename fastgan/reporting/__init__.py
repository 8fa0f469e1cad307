"""Shows what was measured; measures nothing."""
