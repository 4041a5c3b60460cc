"""Trains small tokenizers of every kind and writes them with the tokens of a corpus, for the engine's tests.

    pip install tokenizers==0.23.3
    python bench/text/make_tokenizers.py

For each: `NAME.json` (a `tokenizer.json`), `NAME.vocabulary.json` (the same as a GGUF file would hold it) and an
entry in `expected.json` (tokens of each text of `corpus.json`, with special tokens parsed and as text, and the
tokens of the first text as a prompt).
"""

import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HOME = pathlib.Path(__file__).resolve().parents[2] / "crates/hwledger-engine/testdata/tokenizers"

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SLASHED = TAIL.replace(r"[\r\n]*", r"[\r\n/]*")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD = r"[^\r\n\p{L}\p{N}]?"
PATTERNS = {
    "llama-bpe": CONTRACTIONS + "|" + LEAD + r"\p{L}+|\p{N}{1,3}" + TAIL,
    "qwen2": CONTRACTIONS + "|" + LEAD + r"\p{L}+|\p{N}" + TAIL,
    "gpt-4o": f"{LEAD}{UPPER}*{LOWER}+{CONTRACTIONS}?|{LEAD}{UPPER}+{LOWER}*{CONTRACTIONS}?|" + r"\p{N}{1,3}" + SLASHED,
    "tekken": f"{LEAD}{UPPER}*{LOWER}+|{LEAD}{UPPER}+{LOWER}*|" + r"\p{N}" + SLASHED,
}
KINDS = {"normal": 1, "unknown": 2, "control": 3, "user": 4, "byte": 6}


def corpus():
    return json.loads((HOME / "corpus.json").read_text(encoding="utf-8"))


def byte_level(name, splitters, normalizer=None, ignore_merges=False, bos=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splitters)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus()["training"] * 3, trainer)
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    model = json.loads(tokenizer.to_str())["model"]
    size = tokenizer.get_vocab_size()
    kinds = [KINDS["control"] if i < 3 else KINDS["normal"] for i in range(size - 1)] + [KINDS["user"]]
    return tokenizer, {
        "model": "gpt2",
        "pre": name,
        "tokens": [tokenizer.id_to_token(i) for i in range(size)],
        "kinds": kinds,
        "merges": [" ".join(pair) for pair in model["merges"]],
        "bos": 0,
        "eos": 2,
        "add_bos": bos,
    }


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated", invert=False)


def scored_bpe():
    """As the fast tokenizer of Llama 2: merges in the order of scores, bytes where no token fits."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special + bytes_, limit_alphabet=200, show_progress=False)
    # Training sees words; at use the whole text is one piece, as in SentencePiece.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("▁[^▁]*"), "isolated", invert=False)
    tokenizer.train_from_iterator(corpus()["training"] * 3, trainer)
    content = json.loads(tokenizer.to_str())
    content["pre_tokenizer"] = None
    vocabulary = content["model"]["vocab"]
    # A score per token, the earlier merge the better; and merges of every way to split a token, as converters write them.
    size = len(vocabulary)
    scores = {token: 0.0 if index < 259 else float(259 - index) for token, index in vocabulary.items()}
    merges = []
    for token in sorted(vocabulary, key=vocabulary.get)[259:]:
        ways = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in vocabulary and token[i:] in vocabulary]
        merges += sorted(ways, key=lambda way: (vocabulary[way[0]], vocabulary[way[1]]))
    content["model"]["merges"] = [list(way) for way in merges]
    content["added_tokens"] = [
        {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, token in enumerate(special)
    ]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    kinds = [KINDS["unknown"], KINDS["control"], KINDS["control"]] + [KINDS["byte"]] * 256 + [KINDS["normal"]] * (size - 259)
    tokens = sorted(vocabulary, key=vocabulary.get)
    return tokenizer, {
        "model": "llama",
        "tokens": tokens,
        "scores": [scores[token] for token in tokens],
        "kinds": kinds,
        "unk": 0,
        "bos": 1,
        "eos": 2,
        "add_bos": True,
        "add_space_prefix": True,
    }


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=600, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(corpus()["training"] * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    vocabulary = json.loads(tokenizer.to_str())["model"]["vocab"]
    kinds = [KINDS["control"], KINDS["control"], KINDS["unknown"]] + [KINDS["normal"]] * (len(vocabulary) - 3)
    return tokenizer, {
        "model": "t5",
        "tokens": [token for token, _ in vocabulary],
        "scores": [score for _, score in vocabulary],
        "kinds": kinds,
        "unk": 2,
        "eos": 1,
        "remove_extra_whitespaces": True,
    }


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        corpus()["training"] * 3, trainers.WordPieceTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    phantom = [token if i < 5 else token[2:] if token.startswith("##") else "▁" + token for i, token in enumerate(tokens)]
    kinds = [KINDS["unknown"] if i == 1 else KINDS["control"] if i < 5 else KINDS["normal"] for i in range(len(tokens))]
    return tokenizer, {"model": "bert", "tokens": phantom, "kinds": kinds, "unk": 1, "bos": 2, "sep": 3}


def main():
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    with_regex = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made = {
        "byte-gpt-2": byte_level("gpt-2", [with_regex]),
        "byte-llama-bpe": byte_level("llama-bpe", [split(PATTERNS["llama-bpe"]), last], ignore_merges=True, bos=True),
        "byte-qwen2": byte_level("qwen2", [split(PATTERNS["qwen2"]), last], normalizers.NFC()),
        "byte-gpt-4o": byte_level("gpt-4o", [split(PATTERNS["gpt-4o"]), last]),
        "byte-tekken": byte_level("tekken", [split(PATTERNS["tekken"]), last], ignore_merges=True),
        "byte-smollm": byte_level("smollm", [pre_tokenizers.Digits(individual_digits=True), with_regex]),
        "scored-bpe": scored_bpe(),
        "unigram": unigram(),
        "wordpiece": wordpiece(),
    }
    expected = {}
    for name, (tokenizer, vocabulary) in made.items():
        texts = corpus()["texts"]
        entry = {"special": [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]}
        entry["prompt"] = tokenizer.encode(texts[0]).ids
        entry["decoded"] = [tokenizer.decode(ids, skip_special_tokens=True) for ids in entry["special"]]
        tokenizer.encode_special_tokens = True
        entry["plain"] = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        tokenizer.encode_special_tokens = False
        expected[name] = entry
        dump = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
        (HOME / f"{name}.json").write_text(dump + "\n", encoding="utf-8", newline="\n")
        dump = json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":"))
        (HOME / f"{name}.vocabulary.json").write_text(dump + "\n", encoding="utf-8", newline="\n")
    dump = json.dumps(expected, ensure_ascii=False, separators=(",", ":"))
    (HOME / "expected.json").write_text(dump + "\n", encoding="utf-8", newline="\n")
    print(sum(path.stat().st_size for path in HOME.iterdir()), "bytes")


main()
