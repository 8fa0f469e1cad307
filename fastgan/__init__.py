"""fastgan: a fast, tested trainer for Elastic-InfoGAN (Ojha et al., arXiv 1910.01112)."""

import os

__version__ = "0.1.0"

# Read once, when torch loads its OpenMP runtime. Threads that spin while they wait for each other make a step ten
# times slower as soon as another program uses the same cores; threads that sleep do not.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
