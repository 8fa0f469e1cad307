"""A GPU that computes nothing, for tests of what the host does with one: README.md."""
