"""What an export consists of, and where it may go."""

from __future__ import annotations

from pathlib import Path

from fastgan.errors import ConfigError
from fastgan.runtime import outputs

FILES = ("model.safetensors", "generator.pt2", "labeller.pt2", "README.md")


def check_place(out: Path, force: bool) -> None:
    """Raise ConfigError where `out` exists and may not be replaced, or cannot be written."""
    if not out.is_symlink() and not out.exists():
        outputs.check_folder("--out", out)
        return
    if not force:
        raise ConfigError(f"--out {out}: is there already; add --force to replace it, or name another folder")
    if out.is_symlink() or not out.is_dir() or {path.name for path in out.iterdir()} - set(FILES):
        raise ConfigError(
            f"--out {out}: --force replaces only an earlier export, and this holds something else; name another folder"
        )
