"""One run on the host: the loop, and what feeds, captures, saves and shows it."""
