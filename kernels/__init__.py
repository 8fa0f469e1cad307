"""Fused ops: random samples of the class prior, the contrastive loss NT-Xent, and Adam.

This is the public interface. Importing it needs only torch and NumPy.
"""

from kernels.adam.op import FusedAdam
from kernels.backend import backend, runs_triton, use_backend
from kernels.gumbel_softmax.op import gumbel_softmax
from kernels.normal.op import normal, uniform
from kernels.nt_xent.op import nt_xent, nt_xent_grad, nt_xent_lse
from kernels.products import on_onednn, product

__version__ = "0.1.0"
__all__ = [
    "FusedAdam",
    "backend",
    "gumbel_softmax",
    "normal",
    "nt_xent",
    "nt_xent_grad",
    "nt_xent_lse",
    "on_onednn",
    "product",
    "runs_triton",
    "uniform",
    "use_backend",
]
