#!/usr/bin/env bash
# Installs the engines, writes the models, measures everything and compares with the planner.
# run.sh [PLANNER] [GGUF_DIR]; SKIP_INSTALL=1 and SKIP_MEASURE=1 leave those parts out.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
planner="${1:-$here/../../target/release/hwledger}"
gguf="${2:-${TMPDIR:-/tmp}/hwledger-gguf}"
home="${HWLEDGER_ENGINES:-$HOME/.cache/hwledger-engines}"
if [ -z "${SKIP_INSTALL:-}" ]; then "$here/install.sh"; fi
if [ -z "${SKIP_MEASURE:-}" ]; then
    "$home/bin/python" "$here/models.py" "$gguf"
    "$home/bin/python" "$here/llamacpp.py" "$gguf"
    "$home/bin/python" "$here/mlx_peak.py"
    "$home-torch/bin/python" "$here/transformers_cache.py"
    gzip -9nkf "$here/results/llamacpp.jsonl"
else
    python3 "$here/models.py" "$gguf" --restore
fi
python3 "$here/compare.py" --planner "$planner" --gguf "$gguf" --explain 3
