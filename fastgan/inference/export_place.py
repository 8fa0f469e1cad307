"""What an export consists of, and where it may go."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fastgan.errors import ConfigError
from fastgan.runtime import outputs

WEIGHTS, SETTINGS, CARD = "model.safetensors", "config.json", "README.md"
MODEL = (WEIGHTS, SETTINGS, CARD)  # what `save_pretrained` writes
FILES = (*MODEL, "generator.pt2", "labeller.pt2", "generator.onnx", "labeller.onnx")


def check_place(out: Path, force: bool, files: Collection[str] = FILES) -> None:
    """Raise ConfigError where `out` exists and may not be replaced, or cannot be written; an empty folder may be."""
    if not out.is_symlink() and not out.exists():
        outputs.check_folder("--out", out)
        return
    others = {path.name for path in out.iterdir()} - set(files) if out.is_dir() and not out.is_symlink() else None
    if others == set() and not any(out.iterdir()):
        return
    if not force:
        raise ConfigError(f"--out {out}: is there already; add --force to replace it, or name another folder")
    if others or others is None:
        raise ConfigError(
            f"--out {out}: --force replaces only an earlier export, and this holds something else; name another folder"
        )
