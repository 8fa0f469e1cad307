"""Many runs, and their table."""
