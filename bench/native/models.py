"""Writes Llama models of random weights as GGUF, so that speed can be measured without a download.

    models.py FOLDER tiny
    models.py FOLDER 1b 3b --quantize PEERS/native/bin/llama-quantize --drop-f16 3b

`1b` and `3b` have the shapes, the metadata, the number of tokens and the special tokens of Llama
3.2 1B and 3B, down to the rope_freqs tensor of its context extension; the merges of the vocabulary
are made up (runs of letters and of digits), so text tokenises, only into other pieces. `tiny` is for
tests: it needs no quantiser and comes as F16 and F32 of the same (F16-representable) weights.
Every weight is drawn from its name and the seed alone, so a file is the same wherever it is made.
Weights have a standard deviation of 0.9/sqrt(inputs) (0.02 at a width of 2048), which keeps
activations near one in every layer.
"""

import argparse
import itertools
import math
import string
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

SEED = 20261129
PRE_TOKENIZER = "llama-bpe"
SPECIAL = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    special: int
    context: int
    # Llama 3's context extension as (factor, low, high, original context), or None.
    rope_scaling: tuple | None = None


# meta-llama/Llama-3.2-1B and -3B, config.json.
LLAMA_3_2 = {"vocabulary": 128256, "special": 256, "context": 131072, "rope_scaling": (32.0, 1.0, 4.0, 8192)}
SHAPES = {
    "tiny": Shape(2, 256, 512, 8, 4, 32, 512, 16, 2048),
    "1b": Shape(16, 2048, 8192, 32, 8, 64, **LLAMA_3_2),
    "3b": Shape(28, 3072, 8192, 24, 8, 128, **LLAMA_3_2),
}
ROPE_BASE = 500000.0
NORM_EPSILON = 1e-5


def byte_letters():
    """GPT-2's printable stand-in for each byte, in the order of its vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def merged_pairs():
    """Pairs to merge, each of two tokens that stand before it: numbers, then ever longer words."""
    for length in (2, 3):
        for digits in itertools.product(string.digits, repeat=length):
            yield "".join(digits[:-1]), digits[-1]
    space = byte_letters()[ord(" ")]
    words = [*string.ascii_lowercase, *string.ascii_uppercase, space]
    while True:
        words = [pair for pair in itertools.product(words, string.ascii_lowercase)]
        yield from words
        words = ["".join(pair) for pair in words]


def vocabulary(size, special):
    letters = byte_letters()
    merges = list(itertools.islice(merged_pairs(), size - special - len(letters)))
    tokens = [*letters.values(), *("".join(pair) for pair in merges)]
    kinds = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * special
    reserved = (f"<|reserved_special_token_{n}|>" for n in itertools.count(3))
    tokens += itertools.islice(itertools.chain(SPECIAL, reserved), special)
    assert len(tokens) == len(set(tokens)) == size
    return tokens, kinds, [" ".join(pair) for pair in merges]


def tensors(shape):
    """(name, shape as in PyTorch: outputs then inputs) of every random tensor, in llama.cpp's order."""
    query, key = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    yield "token_embd.weight", (shape.vocabulary, shape.width)
    for layer in range(shape.layers):
        for name, size in [
            ("attn_norm", (shape.width,)),
            ("attn_q", (query, shape.width)),
            ("attn_k", (key, shape.width)),
            ("attn_v", (key, shape.width)),
            ("attn_output", (shape.width, query)),
            ("ffn_norm", (shape.width,)),
            ("ffn_gate", (shape.feed_forward, shape.width)),
            ("ffn_up", (shape.feed_forward, shape.width)),
            ("ffn_down", (shape.width, shape.feed_forward)),
        ]:
            yield f"blk.{layer}.{name}.weight", size
    yield "output_norm.weight", (shape.width,)


def weights(name, size):
    draw = np.random.Generator(np.random.PCG64([SEED, zlib.crc32(name.encode())]))
    values = draw.standard_normal(size, dtype=np.float32)
    if len(size) == 1:
        return 1 + np.float32(0.1) * values
    values *= np.float32(0.9 / math.sqrt(size[-1]))
    return values.astype(np.float16)


def rope_factors(shape):
    """What Llama 3 divides each rotary frequency by (transformers, modeling_rope_utils, llama3)."""
    factor, low, high, original = shape.rope_scaling
    wavelengths = 2 * math.pi * ROPE_BASE ** (np.arange(0, shape.head_size, 2) / shape.head_size)
    smooth = np.clip((original / wavelengths - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def write(path, name, shape, kind):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"Random Llama {name}")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "f16" else gguf.LlamaFileType.ALL_F32)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_vocab_size(shape.vocabulary)
    tokens, kinds, merges = vocabulary(shape.vocabulary, shape.special)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index("<|begin_of_text|>"))
    writer.add_eos_token_id(tokens.index("<|eot_id|>"))
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)

    whole = {} if shape.rope_scaling is None else {"rope_freqs.weight": rope_factors(shape)}
    sizes = [*((tensor, value.shape) for tensor, value in whole.items()), *tensors(shape)]
    of = {tensor: np.dtype(np.float32 if len(size) == 1 or kind == "f32" else np.float16) for tensor, size in sizes}
    for tensor, size in sizes:
        writer.add_tensor_info(tensor, size, of[tensor], math.prod(size) * of[tensor].itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, size in sizes:
        value = whole[tensor] if tensor in whole else weights(tensor, size)
        writer.write_tensor_data(value.astype(of[tensor]))
    writer.close()
    print(path, path.stat().st_size, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("shapes", nargs="+", choices=SHAPES)
    parser.add_argument("--quantize", type=Path, help="llama.cpp's llama-quantize")
    parser.add_argument("--types", default="Q4_K_M,Q8_0,Q4_0")
    parser.add_argument("--drop-f16", nargs="*", default=[], choices=SHAPES, help="delete these F16 files in the end")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.shapes:
        kinds = ("f16", "f32") if name == "tiny" else ("f16",)
        stem = "tiny" if name == "tiny" else f"llama-{name}-random"
        for kind in kinds:
            write(options.folder / f"{stem}-{kind}.gguf", name, SHAPES[name], kind)
        source = options.folder / f"{stem}-f16.gguf"
        if options.quantize:
            for kind in options.types.split(","):
                target = options.folder / f"{stem}-{kind}.gguf"
                subprocess.run([options.quantize, source, target, kind], check=True)
        if name in options.drop_f16:
            source.unlink()


if __name__ == "__main__":
    main()
