"""Run Python on the null GPU: `PYTHONPATH=tests python -m null_gpu -m fastgan.train --amp --epochs 1`."""

from __future__ import annotations

import os
import sys

from null_gpu.build import missing
from null_gpu.child import environment

if absent := missing():
    sys.exit(f"the null GPU cannot be built: {absent}")
os.execve(sys.executable, [sys.executable, *sys.argv[1:]], environment())
