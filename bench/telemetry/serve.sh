#!/bin/sh
# Starts an engine that install.sh put into DIRECTORY, on a processor, and stays until it ends.
#
#     bench/telemetry/serve.sh DIRECTORY vllm|sglang|llama.cpp PORT [OPTION ...]
#
# Pools are small on purpose: nine blocks of 128 tokens make vLLM put requests aside. llama.cpp needs a model at
# DIRECTORY/w/demo.gguf (crates/hwledger-node/demo/demo.gguf).
set -eu
root=${1:?a directory}
engine=${2:?vllm, sglang or llama.cpp}
port=${3:?a port}
shift 3

run() { exec nice -n 10 chroot "$root" env HOME=/tmp HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 LD_LIBRARY_PATH=/w/torchlibs "$@"; }
case $engine in
vllm)
    run VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_NO_USAGE_STATS=1 \
        /w/engines/bin/python -m vllm.entrypoints.openai.api_server --model /w/tiny --served-model-name demo \
        --dtype float32 --enforce-eager --max-model-len 512 --max-num-seqs 4 --num-gpu-blocks-override 9 \
        --enable-prompt-tokens-details --host 127.0.0.1 --port "$port" \
        --speculative-config \
        '{"method":"ngram","num_speculative_tokens":3,"prompt_lookup_max":3,"prompt_lookup_min":1}' "$@"
    ;;
sglang)
    # Without SGLANG_USE_CPU_ENGINE it does not ask for kernels that have no wheel, and computes with plain torch.
    run USE_LIBUV=0 TORCHDYNAMO_DISABLE=1 PYTHONPATH=/w/sglang ${THREADS_BIND:+"SGLANG_CPU_OMP_THREADS_BIND=$THREADS_BIND"} \
        /w/engines/bin/python -m sglang.launch_server --model-path /w/tiny --served-model-name demo --device cpu \
        --dtype float32 --attention-backend torch_native --sampling-backend pytorch --grammar-backend none \
        --disable-overlap-schedule --enable-metrics --enable-cache-report --max-total-tokens 4096 \
        --max-running-requests 4 --context-length 512 --host 127.0.0.1 --port "$port" "$@"
    ;;
llama.cpp)
    run llama-server -m /w/demo.gguf --alias demo --metrics --slots -np 2 -t 1 --host 127.0.0.1 --port "$port" "$@"
    ;;
*)
    echo "\`$engine\` is none of vllm, sglang, llama.cpp" >&2
    exit 2
    ;;
esac
