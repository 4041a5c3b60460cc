#!/usr/bin/env python3
"""Times sweeps of a million configurations to Parquet, with the memory that they take.

Usage: bench/sweep/run.py > bench/sweep/results.txt
Budget: 10 s each on two cores, memory flat (the same for a tenth of the rows).
"""
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
DEVICES = "device=RTX 3060,RTX 3090,RTX 4090,RTX 5090,H100"
SWEEPS = {
    "a workload: most settings move the speed alone": [
        "llama-3.1-8b", "--vary", DEVICES, "--vary", "weights=BF16,Q8_0,Q6_K,Q5_K_M,Q4_K_M",
        "--vary", "context=4K..80K..4K", "--vary", "kv_type=f16,q8_0", "--vary", "concurrency=1..10",
        "--vary", "prompt=256..2560..256", "--vary", "generate=64..640..64", "--engine", "llama.cpp"],
    "a layout: every setting moves the memory": [
        "qwen3-30b-a3b", "--vary", DEVICES, "--vary", "weights=BF16,Q8_0,Q6_K,Q5_K_M,Q4_K_M",
        "--vary", "kv_type=f16,q8_0", "--vary", "context=4K..200K..4K", "--vary", "sequences=1..20",
        "--vary", "ubatch=64..1280..64", "--engine", "llama.cpp"],
    "a server: requests of every size on several cards": [
        "llama-3.1-70b", "--vary", "device=8x A100 80GB,8x H100,8x H200,8x B200,8x MI300X",
        "--vary", "weights=BF16,FP8", "--vary", "tensor_parallel=1,2,4,8", "--vary", "kv_type=bf16,fp8",
        "--vary", "context=8K,16K,32K,64K,128K", "--vary", "concurrency=1..50", "--vary", "prompt=512..5120..512",
        "--vary", "generate=128..640..128", "--engine", "vllm"],
}


def cpu():
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def run(arguments, limit, folder):
    out = os.path.join(folder, "sweep.parquet")
    command = [os.path.join(ROOT, "target", "release", "hwledger"), "sweep", *arguments, "--offline",
               "--limit", str(limit), "--out", out]
    start = time.monotonic()
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    first = child.stderr.readline().strip().replace(folder, "")
    child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
    if os.waitstatus_to_exitcode(status) not in (0, 1):  # 1: nothing of it fits
        sys.exit(f"{command} ended with {status}")
    return seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime, os.path.getsize(out) / 1e6, first


def main():
    subprocess.run(["cargo", "build", "--release", "--quiet", "--bin", "hwledger"], cwd=ROOT, check=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    print(f"# commit {commit.strip()}, {time.strftime('%Y-%m-%d', time.gmtime())}")
    print(f"# {cpu()}, {os.cpu_count()} cores; {platform.system()} {platform.release()}")
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in SWEEPS.items():
            print(f"\n{name}\nhwledger sweep {' '.join(arguments)}")
            for limit in (100_000, 1_000_000, 1_000_000, 1_000_000):
                seconds, peak, busy, size, first = run(arguments, limit, folder)
                print(f"{seconds:6.2f} s, {busy:6.2f} s of cores, peak {peak:5.0f} MiB, file {size:6.1f} MB: {first}")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
