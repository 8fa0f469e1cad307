"""The ops that fastgan stands on: random samples of the class prior and the contrastive loss.

Everything that other code may touch is here. Importing this package needs torch alone.
"""

from kernels.backend import backend, use_backend
from kernels.gumbel_softmax.op import gumbel_softmax
from kernels.normal.op import normal, uniform
from kernels.nt_xent.op import nt_xent, nt_xent_grad, nt_xent_lse

__all__ = [
    "backend",
    "gumbel_softmax",
    "normal",
    "nt_xent",
    "nt_xent_grad",
    "nt_xent_lse",
    "uniform",
    "use_backend",
]
