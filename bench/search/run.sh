#!/bin/sh
# Times hardware searches over the whole catalogue: eight engines, twelve weight formats, six counts.
# Usage: bench/search/run.sh > bench/search/results.txt
# Budget: 2 s each on two cores (median of five).
set -eu
cd "$(dirname "$0")/../.."
cargo build --release --quiet --bin hwledger
echo "# commit $(git rev-parse --short HEAD), $(date -u +%Y-%m-%d)"
echo "# $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores; $(uname -sr)"
formats=BF16,FP8,Q8_0,Q6_K,Q5_K_M,Q4_K_M,IQ4_XS,Q3_K_M,AWQ-4bit,GPTQ-4bit,MLX-4bit,MLX-8bit
for model in llama-3.1-8b llama-3.1-70b qwen3-30b-a3b deepseek-v3; do
  set -- search "$model" --offline --users 8 --count 1,2,3,4,6,8 --bits 1 --weights "$formats" --limit 1
  echo
  echo "hwledger $*"
  target/release/hwledger "$@" | sed -n 1p
  for run in 1 2 3 4 5; do
    start=$(date +%s%N)
    target/release/hwledger "$@" > /dev/null
    end=$(date +%s%N)
    echo "run $run: $(( (end - start) / 1000000 )) ms"
  done
done
