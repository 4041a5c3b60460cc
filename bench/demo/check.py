"""Runs the GGUF file of the demonstration model in numpy, in float64, and writes what an engine must find.

    python3 bench/demo/check.py SOURCES

Only the file is read, with the gguf package; nothing of train.py's model or tokenizer is used. SOURCES, the folder that
fetch.sh filled, gives the held-out text.
"""

import argparse
import hashlib
import json
from pathlib import Path

import gguf
import numpy as np
from jinja2 import Environment
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import examples
import sources
from train import HELD_OUT, NODE

# Prompts whose likeliest tokens lead by a tenth or more all along.
PROMPTS = (
    ("Elizabeth was", False),
    ("In the morning", False),
    ("Who are you?", True),
)
SHOWN = ("Hello", "What is a horse?", "Who is Elizabeth?", "Tell me about Alice.", "What does happy mean?", "What is a river?", "Define walk.")
NEXT = 24
WINDOWS = 4


class File:
    """The fields and tensors of a GGUF file."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self.fields = {name: field.contents() for name, field in reader.fields.items()}
        self.tensors = {
            tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64) for tensor in reader.tensors
        }

    def of(self, key: str):
        return self.fields[f"llama.{key}"]


def tokenizer(file: File) -> Tokenizer:
    tokens = file.fields["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in file.fields["tokenizer.ggml.merges"]]
    assert file.fields["tokenizer.ggml.pre"] == "gpt-2"
    made = Tokenizer(models.BPE({token: place for place, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    kinds = file.fields["tokenizer.ggml.token_type"]
    marks = [token for token, kind in zip(tokens, kinds, strict=True) if kind == gguf.TokenType.CONTROL]
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    return made


def unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def rotate(x: np.ndarray, base: float, is_neighbouring: bool) -> np.ndarray:
    """Rotates pairs of (position, head, value): neighbours, or each value and the one half a head on."""
    length, _, size = x.shape
    angle = np.outer(np.arange(length), base ** (-np.arange(0, size, 2) / size))[:, None, :]
    cos, sin = np.cos(angle), np.sin(angle)
    low, high = (x[..., ::2], x[..., 1::2]) if is_neighbouring else (x[..., : size // 2], x[..., size // 2 :])
    turned = low * cos - high * sin, high * cos + low * sin
    return np.stack(turned, -1).reshape(x.shape) if is_neighbouring else np.concatenate(turned, -1)


class Model:
    """The Llama architecture. Queries and keys are brought back to the order of training unless they stay as they are stored."""

    def __init__(self, file: File, is_as_stored: bool = False) -> None:
        self.file, self.is_as_stored = file, is_as_stored
        self.heads, self.key_heads = file.of("attention.head_count"), file.of("attention.head_count_kv")
        self.weights = dict(file.tensors)
        if not is_as_stored:
            for name, weight in file.tensors.items():
                for part, heads in (("attn_q", self.heads), ("attn_k", self.key_heads)):
                    if part in name:
                        self.weights[name] = unpermute(weight, heads)

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        scale = np.sqrt((x * x).mean(-1, keepdims=True) + self.file.of("attention.layer_norm_rms_epsilon"))
        return x / scale * self.weights[name]

    def logits(self, ids: list[int]) -> np.ndarray:
        weights, length, base = self.weights, len(ids), self.file.of("rope.freq_base")
        x = weights["token_embd.weight"][ids]
        for place in range(self.file.of("block_count")):
            prefix = f"blk.{place}."
            y = self.norm(x, prefix + "attn_norm.weight")
            q, k, v = (
                (y @ weights[f"{prefix}attn_{part}.weight"].T).reshape(length, heads, -1)
                for part, heads in (("q", self.heads), ("k", self.key_heads), ("v", self.key_heads))
            )
            q, k = rotate(q, base, self.is_as_stored), rotate(k, base, self.is_as_stored)
            k, v = (np.repeat(t, self.heads // self.key_heads, 1) for t in (k, v))
            scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1])
            scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            y = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v).reshape(length, -1)
            x = x + y @ weights[prefix + "attn_output.weight"].T
            y = self.norm(x, prefix + "ffn_norm.weight")
            gate = y @ weights[prefix + "ffn_gate.weight"].T
            y = gate / (1 + np.exp(-gate)) * (y @ weights[prefix + "ffn_up.weight"].T)
            x = x + y @ weights[prefix + "ffn_down.weight"].T
        return self.norm(x, "output_norm.weight") @ weights["token_embd.weight"].T

    def losses(self, ids: list[int]) -> np.ndarray:
        """What each token but the first costs."""
        logits = self.logits(ids)[:-1]
        top = logits.max(-1)
        return top + np.log(np.exp(logits - top[:, None]).sum(-1)) - logits[np.arange(len(ids) - 1), ids[1:]]


def greedy(model: Model, ids: list[int], count: int, ends: set[int]) -> list[dict]:
    """The likeliest token after each, until one ends the turn, with the runner-up."""
    ids, steps = list(ids), []
    for _ in range(count):
        logits = model.logits(ids)[-1]
        first, second = (int(place) for place in np.argsort(-logits)[:2])
        steps.append(
            {"token": first, "logit": round(float(logits[first]), 6), "runner_up": second, "runner_up_logit": round(float(logits[second]), 6)}
        )
        ids.append(first)
        if first in ends:
            break
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path)
    parser.add_argument("--gguf", type=Path, default=NODE / "demo.gguf")
    arguments = parser.parse_args()
    file = File(arguments.gguf)
    coder = tokenizer(file)
    model = Model(file)
    begin, end, turn_end = (file.fields[f"tokenizer.ggml.{mark}_token_id"] for mark in ("bos", "eos", "eot"))
    template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(file.fields["tokenizer.chat_template"])

    def prompt_ids(text: str, is_chat: bool) -> list[int]:
        if not is_chat:
            return [begin, *coder.encode(text).ids]
        messages = [{"role": "user", "content": text}]
        mark = coder.id_to_token(begin)
        return coder.encode(template.render(messages=messages, add_generation_prompt=True, bos_token=mark)).ids

    prompts = []
    for text, is_chat in PROMPTS:
        ids = prompt_ids(text, is_chat)
        gap = np.abs(model.logits(ids) - Model(file, is_as_stored=True).logits(ids)).max()
        assert gap < 1e-9, f"the stored order and the order of training differ by {gap}"
        steps = greedy(model, ids, NEXT, {end, turn_end})
        completion = coder.decode([step["token"] for step in steps])
        prompts.append({"text": text, "is_chat": is_chat, "tokens": ids, "greedy": steps, "completion": completion})
        margin = min(step["logit"] - step["runner_up_logit"] for step in steps)
        print(f"{text!r} -> {completion!r} (smallest lead {margin:.3f})")
    for text in SHOWN:
        steps = greedy(model, prompt_ids(text, True), 60, {end, turn_end})
        print(f"{text!r} -> {coder.decode([step['token'] for step in steps])!r}")

    context = file.of("context_length")
    _, held_out = examples.hold_out(sources.novels(arguments.sources)["Pride and Prejudice"], HELD_OUT)
    text, ids = "", []
    for paragraph in held_out:
        text += ("\n\n" if text else "") + paragraph
        ids = [begin, *coder.encode(text).ids]
        if len(ids) >= WINDOWS * context:
            break
    windows = [[begin, *ids[start + 1 : start + context]] for start in range(0, WINDOWS * context, context)]
    losses = np.stack([model.losses(window) for window in windows])
    halves = losses[:, context // 2 :]
    print(f"held out: loss {losses.mean():.4f}, perplexity {np.exp(losses.mean()):.3f}; second halves {halves.mean():.4f}, {np.exp(halves.mean()):.3f}")
    golden = {
        "model_sha256": hashlib.sha256(arguments.gguf.read_bytes()).hexdigest(),
        "arithmetic": "float64, with the weights that the Q8_0 blocks stand for",
        "prompts": prompts,
        "held_out": {
            "about": "tokens are those of the text after a begin token; each window is `context` of them with the first replaced by the begin token, and every other token of it is predicted. second_halves counts only those from place context / 2 + 1 on, as llama-perplexity does.",
            "source": "Pride and Prejudice, not trained on",
            "context": context,
            "windows": WINDOWS,
            "tokens": len(ids),
            "first_tokens": ids[:16],
            "window_losses": [round(float(loss), 8) for loss in losses.mean(-1)],
            "mean_loss": round(float(losses.mean()), 8),
            "perplexity": round(float(np.exp(losses.mean())), 6),
            "second_halves": {"mean_loss": round(float(halves.mean()), 8), "perplexity": round(float(np.exp(halves.mean())), 6)},
            "text": text,
        },
    }
    (arguments.gguf.parent / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
