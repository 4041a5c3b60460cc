#!/bin/sh
# Checks hwledger's Parquet files with pandas and DuckDB, which it installs into a folder of its own.
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python" >&2
"$folder/python/bin/pip" install --quiet --disable-pip-version-check pandas==3.* pyarrow duckdb==1.* >&2 ||
  "$folder/python/bin/pip" install --quiet --disable-pip-version-check pandas pyarrow duckdb >&2
cargo build --release --quiet --bin hwledger
"$folder/python/bin/python" bench/parquet/check.py
