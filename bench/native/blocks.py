#!/usr/bin/env python3
"""Blocks of every type that ggml has for weights and the numbers that they are, by the decoders of the Python package `gguf`.

    blocks.py > bench/native/blocks.json

Bytes are random (SplitMix64, its lowest byte), save that half-precision factors stay finite. Of each type two blocks
are written out, with the bits of their numbers; of BLOCKS_HASHED further ones, which use every entry of every grid,
the SHA-256 of these bits. `crates/hwledger-engine/tests/native/blocks.rs` makes the same bytes and decodes them.
"""

import hashlib
import json
from importlib.metadata import version

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# Where the high bytes of half-precision factors lie, whose top bit of the exponent is cleared.
HIGH_BYTES = {
    "Q1_0": [1], "Q2_0": [1],
    "Q4_0": [1], "Q4_1": [1, 3], "Q5_0": [1], "Q5_1": [1, 3], "Q8_0": [1],
    "Q2_K": [81, 83], "Q3_K": [109], "Q4_K": [1, 3], "Q5_K": [1, 3], "Q6_K": [209],
    "IQ1_S": [1], "IQ1_M": [55], "IQ2_XXS": [1], "IQ2_XS": [1], "IQ2_S": [1], "IQ3_XXS": [1], "IQ3_S": [1],
    "IQ4_NL": [1], "IQ4_XS": [1], "TQ1_0": [53], "TQ2_0": [65], "MXFP4": [], "NVFP4": [],
}
BLOCKS_WRITTEN = 2
BLOCKS_HASHED = 1024
# Types that `gguf` 0.19.0 does not decode: elements and bytes of a block, and bits of a number. Decoded here as
# `dequantize_row_q1_0` and `dequantize_row_q2_0` of ggml-quants.c do.
PLAIN = {"Q1_0": (128, 18, 1), "Q2_0": (64, 18, 2)}


def random_bytes(seed, count):
    """The lowest bytes of SplitMix64's numbers."""
    with np.errstate(over="ignore"):
        state = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) & np.uint64(255)).astype(np.uint8)


def values(name, blocks):
    """The numbers of some blocks, in single precision."""
    if name not in PLAIN:
        # The largest scales of MXFP4 make infinities.
        with np.errstate(over="ignore"):
            return dequantize(blocks, GGMLQuantizationType[name]).astype("<f4").reshape(-1)
    _, _, bits = PLAIN[name]
    factor = blocks[:, :2].copy().view("<f2").astype(np.float32)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = (blocks[:, 2:, None] >> shifts & (2**bits - 1)).reshape(len(blocks), -1).astype(np.float32)
    return (factor * (2 * numbers - 1 if bits == 1 else numbers - 1)).astype("<f4").reshape(-1)


def main():
    types = {}
    for seed, (name, high_bytes) in enumerate(HIGH_BYTES.items()):
        elements, size = PLAIN[name][:2] if name in PLAIN else GGML_QUANT_SIZES[GGMLQuantizationType[name]]
        blocks = random_bytes(seed, (BLOCKS_WRITTEN + BLOCKS_HASHED) * size).reshape(-1, size)
        for at in high_bytes:
            blocks[:, at] &= 0xBF
        numbers = values(name, blocks)
        assert np.isfinite(numbers[: BLOCKS_WRITTEN * elements]).all() and not np.isnan(numbers).any(), name
        written = numbers[: BLOCKS_WRITTEN * elements]
        types[name.lower()] = {
            "seed": seed,
            "high_bytes": high_bytes,
            "blocks": blocks[:BLOCKS_WRITTEN].tobytes().hex(),
            "values": written.tobytes().hex(),
            "sha256": hashlib.sha256(numbers[BLOCKS_WRITTEN * elements :].tobytes()).hexdigest(),
        }
    made = {"made_by": "bench/native/blocks.py", "gguf": version("gguf"), "numpy": np.__version__}
    lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in types.items()]
    print("{" + json.dumps(made)[1:-1] + f', "blocks_hashed": {BLOCKS_HASHED}, "types": {{')
    print(",\n".join(lines) + "\n}}")


main()
