"""How fast MLX multiplies on a processor: operations per second of processor time, by type and number of rows.

    mlx_products.py RESULTS.jsonl [--rows 1,8,64,256] [--widths 1024,2048,4096] [--seconds 2]

A row is one product of a matrix of WIDTH x WIDTH weights with ROWS rows of activations, as `mlx.nn.Linear` and
`QuantizedLinear` compute them on the CPU stream. Processor time, not the clock, is what counts, so that neighbours on
the machine do not; `cores` is processor time over the clock's, which says how many threads MLX uses. Each is repeated
for at least `--seconds` and three times; the median of the rates is kept, and the range.
"""

import argparse
import json
import os
import statistics
import sys
import time

import mlx.core as mx

mx.set_default_device(mx.cpu)
KINDS = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}


def product(kind, width, rows):
    """A function that computes the product, and the bytes of its weights."""
    if kind in KINDS:
        weight = mx.random.normal((width, width)).astype(KINDS[kind])
        x = mx.random.normal((rows, width)).astype(KINDS[kind])
        mx.eval(weight, x)
        return lambda: x @ weight.T, weight.nbytes
    bits, scales = kind.split("bit-")
    quantised = mx.quantize(mx.random.normal((width, width)).astype(KINDS[scales]), group_size=64, bits=int(bits))
    x = mx.random.normal((rows, width)).astype(KINDS[scales])
    mx.eval(*quantised, x)
    call = lambda: mx.quantized_matmul(x, *quantised, transpose=True, group_size=64, bits=int(bits))
    return call, sum(part.nbytes for part in quantised)


def measure(call, operations, seconds):
    mx.eval(call())
    wall, busy, count = time.perf_counter(), time.process_time(), 0
    while count == 0 or time.process_time() - busy < seconds:
        mx.eval(call())
        count += 1
    busy, wall = time.process_time() - busy, time.perf_counter() - wall
    return operations * count / busy, busy / wall


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results")
    parser.add_argument("--kinds", default="f32,f16,bf16,4bit-f16,4bit-bf16,8bit-f16,8bit-bf16,4bit-f32")
    parser.add_argument("--rows", default="1,8,64,256")
    parser.add_argument("--widths", default="1024,2048,4096")
    parser.add_argument("--seconds", type=float, default=2)
    a = parser.parse_args()
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    with open(a.results, "w") as output:
        head = {"processor": cpu, "threads": os.cpu_count(), "mlx": mx.__version__, "load": os.getloadavg()[0]}
        output.write(json.dumps(head) + "\n")
        for kind in a.kinds.split(","):
            for width in map(int, a.widths.split(",")):
                for rows in map(int, a.rows.split(",")):
                    call, size = product(kind, width, rows)
                    found = [measure(call, 2.0 * rows * width * width, a.seconds / 3) for _ in range(3)]
                    rates = sorted(rate for rate, _ in found)
                    row = {"kind": kind, "width": width, "rows": rows, "weight_bytes": size}
                    row |= {"operations_per_s": statistics.median(rates), "range": [rates[0], rates[-1]]}
                    row |= {"cores": round(statistics.median(cores for _, cores in found), 2), "load": os.getloadavg()[0]}
                    output.write(json.dumps(row) + "\n")
                    output.flush()
                    print(kind, width, rows, f"{row['operations_per_s'] / 1e9:.2f} G/s", row["cores"], flush=True)


if __name__ == "__main__":
    sys.exit(main())
