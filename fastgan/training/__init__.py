"""The host's side of one run: the training loop, its loader, CUDA graphs, checkpoints and console."""
