"""fastgan: a fast, tested trainer for Elastic-InfoGAN (Ojha et al., arXiv 1910.01112)."""

__version__ = "0.1.0"
