"""Normal and uniform draws from the counter-based stream."""
