"""Identity-preserving transforms of images."""
