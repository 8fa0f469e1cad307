"""The contrastive loss NT-Xent."""
