"""The environment of a run: versions, device, commit."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import fastgan
from fastgan.runtime.device import device_name

PACKAGES = (
    "torch",
    "torchvision",
    "triton",
    "numpy",
    "scikit-learn",
    "scipy",
    "safetensors",
    "nvidia-dali-cuda130",
    "umap-learn",
)


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, threads, commit and command, as kept in run.json."""
    versions = {"python": platform.python_version(), "fastgan": fastgan.__version__}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "git_commit": _git_commit(),
        "command": _command(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _command() -> str:
    """The command line, without the folder where Python or the command `fastgan` is installed."""
    first, *rest = sys.orig_argv[1:] or [""]
    return " ".join([Path(first).name if Path(first).stem == "fastgan" else first, *rest])


def _git_commit() -> str | None:
    """The commit of the source tree, with a + if it has uncommitted changes; None outside a repository."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changes else "")
