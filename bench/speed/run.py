#!/usr/bin/env python3
"""Time hwledger as a whole process: medians and peak resident memory.

    cargo build --release && python3 bench/speed/run.py target/release/hwledger [--out FOLDER]

Measures 10,000 requests through --requests, one plan of a config.json, and one plan of a GGUF file
whose header holds 2,000 tensors and a vocabulary of 250,000 (written here, sparse: no tensor data).
Python 3.9 or later, standard library only; Linux or macOS.
"""
import argparse
import json
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time

BUDGETS = {"10,000 requests": (1.0, 60), "config.json": (0.015, 60), "GGUF header": (0.040, 60)}

CONFIGS = [
    {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
     "num_key_value_heads": 8, "num_hidden_layers": 32, "vocab_size": 128256, "max_position_embeddings": 131072},
    {"model_type": "qwen3", "hidden_size": 5120, "intermediate_size": 25600, "num_attention_heads": 64,
     "num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 64, "vocab_size": 151936,
     "max_position_embeddings": 40960},
    {"model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768,
     "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "num_hidden_layers": 48,
     "num_experts": 128, "num_experts_per_tok": 8, "vocab_size": 151936, "max_position_embeddings": 40960},
]


def timed(words, stdin=None):
    """Seconds and peak resident MiB of one process; a failing process ends the benchmark."""
    start = time.perf_counter()
    process = subprocess.Popen(words, stdin=open(stdin, "rb") if stdin else subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        sys.exit("%s: %s" % (" ".join(words), message.decode(errors="replace")))
    scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return seconds, usage.ru_maxrss / scale


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(path):
    """A llama of 250,000 tokens and 2,000 tensors, its tensor data a hole."""
    layers = 222
    vocabulary = 250_000
    keys = [("general.architecture", "llama"), ("llama.block_count", layers), ("llama.context_length", 131072),
            ("llama.embedding_length", 4096), ("llama.feed_forward_length", 14336),
            ("llama.attention.head_count", 32), ("llama.attention.head_count_kv", 8)]
    body = b""
    for key, value in keys:
        body += text(key)
        body += struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<II", 4, value)
    body += text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, vocabulary)
    body += b"".join(text("token%06d" % i) for i in range(vocabulary))
    body += text("tokenizer.ggml.token_type") + struct.pack("<IIQ", 9, 5, vocabulary) + struct.pack("<i", 1) * vocabulary
    body += text("tokenizer.ggml.merges") + struct.pack("<IIQ", 9, 8, vocabulary)
    body += b"".join(text("tok en%06d" % i) for i in range(vocabulary))
    shapes = [("token_embd.weight", [4096, vocabulary]), ("output_norm.weight", [4096])]
    for layer in range(layers):
        for name, shape in [("attn_norm", [4096]), ("attn_q", [4096, 4096]), ("attn_k", [4096, 1024]),
                            ("attn_v", [4096, 1024]), ("attn_output", [4096, 4096]), ("ffn_norm", [4096]),
                            ("ffn_gate", [4096, 14336]), ("ffn_up", [4096, 14336]), ("ffn_down", [14336, 4096])]:
            shapes.append(("blk.%d.%s.weight" % (layer, name), shape))
    offset = 0
    for name, shape in shapes:
        body += text(name) + struct.pack("<I", len(shape)) + struct.pack("<%dQ" % len(shape), *shape)
        body += struct.pack("<IQ", 1, offset)
        size = 2
        for extent in shape:
            size *= extent
        offset += (size + 31) // 32 * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(keys) + 3)
    with open(path, "wb") as file:
        file.write(head + body)
        start = (len(head) + len(body) + 31) // 32 * 32
        file.truncate(start + offset)
    return len(shapes), len(head) + len(body)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("planner", nargs="?", default="target/release/hwledger")
    parser.add_argument("--write-gguf", metavar="FILE", help="only write the GGUF file")
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--out", help="folder for raw.csv")
    arguments = parser.parse_args()
    if arguments.write_gguf:
        print("GGUF header: %d tensors, %d bytes" % gguf(arguments.write_gguf))
        return 0
    planner = os.path.abspath(arguments.planner)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for index, config in enumerate(CONFIGS):
            os.makedirs(os.path.join(folder, str(index)))
            paths.append(os.path.join(folder, str(index), "config.json"))
            with open(paths[-1], "w") as file:
                json.dump(config, file)
        requests = os.path.join(folder, "requests.jsonl")
        with open(requests, "w") as file:
            for index in range(10_000):
                engine = ["llama.cpp", "vllm", "mlx"][index % 3]
                device = ["NVIDIA GeForce RTX 4090", "H100 80GB", "Apple M2 Ultra"][index % 3]
                file.write(json.dumps({"id": str(index), "model": paths[index // 3 % 3], "engine": engine,
                                       "context": 1024 + index, "devices": [{"name": device}]}) + "\n")
        model = os.path.join(folder, "large.gguf")
        # In a process of its own: a child's peak starts at what its parent holds when it forks.
        subprocess.run([sys.executable, os.path.abspath(__file__), "--write-gguf", model], check=True)
        cases = [("10,000 requests", [planner, "plan", "--requests", requests, "--json"]),
                 ("config.json", [planner, "plan", paths[0], "--json"]),
                 ("GGUF header", [planner, "plan", model, "--json"])]
        for name, words in cases:
            timed(words)
            for run in range(arguments.runs):
                rows.append((name, run) + timed(words))
    bad = False
    for name, (seconds_max, memory_max) in BUDGETS.items():
        seconds = [row[2] for row in rows if row[0] == name]
        memory = max(row[3] for row in rows if row[0] == name)
        median = statistics.median(seconds)
        late = median > seconds_max or memory > memory_max
        bad |= late
        print("%-16s median %8.1f ms (%.1f to %.1f), budget %g ms; peak %5.1f MiB, budget %d MiB%s" % (
            name, median * 1e3, min(seconds) * 1e3, max(seconds) * 1e3, seconds_max * 1e3, memory, memory_max,
            "  OVER" if late else ""))
    if arguments.out:
        os.makedirs(arguments.out, exist_ok=True)
        with open(os.path.join(arguments.out, "raw.csv"), "w") as file:
            file.write("# %s, %d processors\ncase,run,seconds,peak_mib\n" % (platform.platform(), os.cpu_count()))
            for row in rows:
                file.write("%s,%d,%.6f,%.2f\n" % (row[0].replace(",", ""), row[1], row[2], row[3]))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
