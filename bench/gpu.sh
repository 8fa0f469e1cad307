#!/usr/bin/env bash
# All that only a GPU can show, in stages: bash bench/gpu.sh kernels|step|costs|table|worlds OUT
# A call takes at most 10 minutes, leaves at most 8 files in OUT, and does what earlier calls left of its stage.
set -euo pipefail
if [ $# -ne 2 ]; then
    echo "usage: bash bench/gpu.sh kernels|step|costs|table|worlds OUT" >&2
    exit 2
fi
out=$(mkdir -p "$2" && cd "$2" && pwd)
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" -m bench.gpu.stages "$1" "$out"
