"""python -m fastgan.check DATA: what a folder of images holds, and what a run on it would take."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastgan.config.command_line import parse, program, run_command
from fastgan.config.commands import CheckConfig
from fastgan.data import scan
from fastgan.errors import ConfigError
from fastgan.runtime.libraries import loading
from fastgan.runtime.outputs import check_file


def main(argv: Sequence[str]) -> int:
    """Parse, look, print. Returns the exit code."""
    args = parse(
        CheckConfig,
        argv,
        command="check",
        description="What a folder of images holds, what may be wrong with it, and what a run on it would take.",
    )
    if args.data is None and not (args.cache or args.empty_cache):
        raise ConfigError(f"name the folder with your images: {program('check')} photos; or --cache for the cache")
    if args.data is not None:
        scan.check(args.data)
    if args.json is not None:
        check_file("--json", args.json, force=args.force)
    with loading():
        from fastgan.tasks import check as task
    if args.cache or args.empty_cache:
        task.show_cache(args)
    if args.data is not None:
        task.look(args, args.data)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
