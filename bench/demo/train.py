"""Trains the demonstration model and writes it as a GGUF file with its provenance.

    sh bench/demo/fetch.sh SOURCES
    OMP_NUM_THREADS=1 python3 bench/demo/train.py SOURCES

Nothing depends on the clock: the same versions on the same kind of processor give the same file.
"""

import argparse
import hashlib
import json
import platform
import random
import time
from importlib import metadata
from pathlib import Path

import gguf
import numpy as np
import tokenizers
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional as F

import examples
import model as llama
import sources

SEED = 20260
STEPS = 3800
# One row of prose and one of conversations.
ROWS = 2
PEAK_RATE = 2e-3
WARM_UP = 150
# The rate stays at its peak until this share of the steps is left, then falls to nothing; what comes before does not
# depend on the number of steps, so a run that was interrupted can be given another.
FALL = 0.3
KEPT_EVERY = 50
HELD_OUT = 0.025
# Shares of the conversations: small talk, those about the prose; the others are about definitions.
TALK, ABOUT_PROSE = 0.04, 0.16
NODE = Path(__file__).resolve().parents[2] / "crates/hwledger-node/demo"
LICENCE = "Apache-2.0"
DESCRIPTION = (
    "Demonstration model of hwledger, made by bench/demo/train.py. Trained on the novels of Jane Austen and on Alice's "
    "Adventures in Wonderland by Lewis Carroll (public domain), and on definitions from WordNet 3.0 (Copyright 2006 by "
    "Princeton University. All rights reserved. Used under the WordNet 3.0 licence.)"
)


def led(paragraphs: list[str]) -> list[str]:
    """Paragraphs with the gap before them: at their end it would be split otherwise than inside a text."""
    return ["\n\n" + text for text in paragraphs]


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Byte-level BPE; ByteLevel splits text as GPT-2 does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=llama.VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[AddedToken(mark, special=True, normalized=False) for mark in examples.MARKS],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


class Batches:
    """Rows of one token more than the context, drawn at random."""

    def __init__(self, tokenizer: Tokenizer, books: dict[str, list[str]], defined: list[tuple[str, str, str]]) -> None:
        self.random = random.Random(SEED)
        self.tokenizer = tokenizer
        self.defined = defined
        self.paragraphs = [text for book in books.values() for text in book]
        wanted = sorted({name for book in books.values() for name in examples.names(book, 40)})
        self.found = examples.whereabouts(self.paragraphs, wanted)
        self.begin, self.end = (tokenizer.token_to_id(mark) for mark in (examples.BEGIN, examples.END))
        self.gap = len(tokenizer.encode("\n\n").ids)
        stream, self.starts = [], []
        for book in books.values():
            for encoded in tokenizer.encode_batch(led(book)):
                self.starts.append(len(stream) + self.gap)
                stream += encoded.ids
            stream.append(self.end)
        self.stream = stream
        self.starts = [start for start in self.starts if start + llama.CONTEXT < len(stream)]

    def _conversation(self) -> list[int]:
        draw = self.random.random()
        if draw < TALK:
            text = examples.small_talk(self.random)
        elif draw < TALK + ABOUT_PROSE:
            text = examples.converse(self.random, self.paragraphs, self.found)
        else:
            text = examples.define(self.random, *self.random.choice(self.defined))
        return self.tokenizer.encode(text).ids

    def batch(self) -> torch.Tensor:
        size = llama.CONTEXT + 1
        start = self.random.choice(self.starts)
        prose = [self.begin, *self.stream[start : start + size - 1]]
        talk = []
        while len(talk) < size:
            talk += self._conversation()
        return torch.tensor([prose, talk[:size]])


@torch.no_grad()
def mean_loss(model: llama.Model, ids: list[int]) -> float:
    """Mean loss over consecutive windows of the context."""
    total = count = 0.0
    for start in range(0, len(ids) - 1, llama.CONTEXT):
        window = torch.tensor([ids[start : start + llama.CONTEXT + 1]])
        total += float(F.cross_entropy(model(window[:, :-1])[0], window[0, 1:], reduction="sum"))
        count += window.shape[1] - 1
    return total / count


def rate(step: int) -> float:
    return PEAK_RATE * min(1.0, (step + 1) / WARM_UP, (STEPS - step) / (FALL * STEPS))


def train(model: llama.Model, batches: Batches, kept: Path | None, report) -> float:
    matrices = [weight for weight in model.parameters() if weight.dim() == 2]
    vectors = [weight for weight in model.parameters() if weight.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95), fused=True)
    first, recent = 0, 0.0
    if kept and kept.exists():
        state = torch.load(kept, weights_only=False)
        first, recent = state["step"], state["recent"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        batches.random.setstate(state["random"])
    for step in range(first, STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        rows = batches.batch()
        logits = model(rows[:, :-1])
        loss = F.cross_entropy(logits.view(-1, llama.VOCABULARY), rows[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        value = float(loss.detach())
        recent = value if step == 0 else 0.98 * recent + 0.02 * value
        report(step, recent)
        done = step + 1
        if kept and done % KEPT_EVERY == 0 and done <= STEPS - FALL * STEPS:
            state = {"step": done, "recent": recent, "random": batches.random.getstate()}
            torch.save(state | {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, kept.with_suffix(".new"))
            kept.with_suffix(".new").replace(kept)
    return recent


def permute(weight: np.ndarray, heads: int) -> np.ndarray:
    """Puts the two parts of each rotated pair side by side, as llama.cpp's converter does for Llama."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write(path: Path, model: llama.Model, tokenizer: Tokenizer) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("hwledger demo")
    writer.add_description(DESCRIPTION)
    writer.add_license(LICENCE)
    writer.add_size_label("3.7M")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_context_length(llama.CONTEXT)
    writer.add_embedding_length(llama.HIDDEN)
    writer.add_block_count(llama.LAYERS)
    writer.add_feed_forward_length(llama.FEED_FORWARD)
    writer.add_head_count(llama.HEADS)
    writer.add_head_count_kv(llama.KEY_HEADS)
    writer.add_key_length(llama.HEAD)
    writer.add_value_length(llama.HEAD)
    writer.add_rope_dimension_count(llama.HEAD)
    writer.add_rope_freq_base(llama.ROPE_BASE)
    writer.add_layer_norm_rms_eps(llama.EPSILON)
    writer.add_vocab_size(llama.VOCABULARY)
    tokens = [tokenizer.id_to_token(place) for place in range(llama.VOCABULARY)]
    kinds = [gguf.TokenType.CONTROL if token in examples.MARKS else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.token_to_id(examples.BEGIN))
    writer.add_eos_token_id(tokenizer.token_to_id(examples.END))
    writer.add_eot_token_id(tokenizer.token_to_id(examples.TURN_END))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(examples.TEMPLATE)
    for name, weight in model.state_dict().items():
        data = weight.numpy()
        if name.endswith("attn_q.weight"):
            data = permute(data, llama.HEADS)
        elif name.endswith("attn_k.weight"):
            data = permute(data, llama.KEY_HEADS)
        if data.ndim == 1:
            writer.add_tensor(name, data)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def provenance(path: Path, figures: dict[str, float | int]) -> str:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = [
        "# Where demo.gguf comes from; written by bench/demo/train.py.",
        f'file = "{path.name}"',
        f'sha256 = "{hashlib.sha256(path.read_bytes()).hexdigest()}"',
        f"bytes = {path.stat().st_size}",
        f'licence = "{LICENCE}"',
        'attribution = "WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved."',
        'notices = "LICENSE.wordnet"',
        'script = "bench/demo/train.py"',
        "",
        "[training]",
        *(f"{key} = {value}" for key, value in figures.items()),
        "",
        "[versions]",
        f'python = "{platform.python_version()}"',
        *(f'{name} = "{version}"' for name, version in (
            ("torch", torch.__version__.split("+")[0]), ("tokenizers", tokenizers.__version__),
            ("numpy", np.__version__), ("gguf", metadata.version("gguf")),
        )),
        "",
        "[[source]]",
        'package = "this project, bench/demo/examples.py"',
        'text = "greetings and answers of the model about itself"',
        'licence = "Apache-2.0"',
    ]
    for source in sources.SOURCES:
        lines += ["", "[[source]]"]
        lines += [f"{key} = {quoted(getattr(source, key))}" for key in ("package", "version", "text", "licence", "file", "sha256")]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path, help="the folder that fetch.sh filled")
    parser.add_argument("--out", type=Path, default=NODE / "demo.gguf")
    parser.add_argument("--kept", type=Path, help="a file to go on from after an interruption, and to keep the state in")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)

    whole = sources.novels(arguments.sources)
    parts = {title: examples.hold_out(text, HELD_OUT) for title, text in whole.items()}
    books = {title: kept for title, (kept, _) in parts.items()}
    held_out = "\n\n".join(text for _, passage in parts.values() for text in passage)
    defined = sources.definitions(arguments.sources)
    tested, defined = defined[::40], [entry for place, entry in enumerate(defined) if place % 40]
    tokenizer = train_tokenizer(
        [text for book in books.values() for text in led(book)] + [f"{word} {meaning}" for _, word, meaning in defined]
    )
    batches = Batches(tokenizer, books, defined)
    begin = tokenizer.token_to_id(examples.BEGIN)
    prose_ids = [begin, *tokenizer.encode(held_out).ids]
    chooser = random.Random(SEED + 1)
    defined_ids = [token for entry in tested for token in tokenizer.encode(examples.define(chooser, *entry)).ids]
    print(
        f"{len(batches.stream)} tokens of prose, {len(defined)} definitions, {len(batches.found)} names, "
        f"held out {len(prose_ids)} and {len(defined_ids)} tokens",
        flush=True,
    )
    model = llama.Model()
    started = time.monotonic()

    def report(step: int, recent: float) -> None:
        if step % 100 == 99 or step == 9:
            tested = f", held-out prose {mean_loss(model, prose_ids[:4097]):.3f}" if step % 400 == 399 else ""
            print(f"step {step + 1}: loss {recent:.3f}{tested}, {time.monotonic() - started:.0f} s", flush=True)

    recent = train(model, batches, arguments.kept, report)
    figures = {
        "seed": SEED,
        "steps": STEPS,
        "tokens": STEPS * ROWS * llama.CONTEXT,
        "tokens_of_prose": len(batches.stream),
        "definitions": len(defined),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "loss_training_recent": round(recent, 4),
        "loss_held_out_prose": round(mean_loss(model, prose_ids), 4),
        "loss_held_out_definitions": round(mean_loss(model, defined_ids), 4),
    }
    print(figures)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write(arguments.out, model, tokenizer)
    (arguments.out.parent / "PROVENANCE.toml").write_text(provenance(arguments.out, figures))


if __name__ == "__main__":
    main()
