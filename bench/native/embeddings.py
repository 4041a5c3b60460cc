#!/usr/bin/env python3
"""Vectors of a published encoder by hwledger, by llama.cpp, and by transformers in double precision, side by side.

    embeddings.py HWLEDGER DIRECTORY [GGUF...] [--llama-cpp PEERS] [--output FILE]

DIRECTORY holds the model as Hugging Face has it; each GGUF is a conversion of it. hwledger embeds the texts below from
the directory and from each GGUF; llama.cpp (the `states` that peers.sh builds) gets the tokens of transformers. Both must
pool by the mean. One line of JSON per file: by how much 1 less the cosine of the angle to double precision differs.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np

TEXTS = [
    "That is a happy person",
    "That is a happy dog",
    "Today is a sunny day",
    "",
    "naïve café — Ünïcode 北京 emoji 🙂 end",
    "x = foo(bar[3]) // comment_with_underscores",
    "The quick brown fox jumps over the lazy dog. " * 40,
    "don't stop-believing! 12,345.67%",
    "\tTabs and  spaces   everywhere ",
]


def unit(vector):
    return vector / np.linalg.norm(vector)


def exact(directory):
    """Token ids and vectors of transformers in double precision."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModel.from_pretrained(directory, dtype=torch.float64).eval()
    found = []
    for text in TEXTS:
        inputs = tokenizer(text, return_tensors="pt", truncation=False, padding=False)
        with torch.no_grad():
            states = model(**inputs).last_hidden_state[0]
        found.append((inputs["input_ids"][0].tolist(), unit(states.mean(0).numpy())))
    return found


def ours(program, model):
    command = [program, "embed", model, "--offline", "--no-packed-cache", "--json", "--", *TEXTS]
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert answer["pooling"] == "mean" and answer["normalised"]
    return [(one["tokens"], unit(np.array(one["embedding"], dtype=np.float64))) for one in answer["embeddings"]]


def theirs(peers, model, ids):
    command = [peers / "native/bin/states", model, "512", *map(str, ids)]
    states = np.frombuffer(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout, dtype=np.float32)
    return unit(states.reshape(len(ids), -1).astype(np.float64).mean(0))


def spread(values):
    return {"mean": float(f"{np.mean(values):.2e}"), "max": float(f"{np.max(values):.2e}")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--llama-cpp", type=Path, help="folder that peers.sh built into")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    expected = exact(options.directory)
    lines = []
    for model in [options.directory, *options.files]:
        found = ours(options.program, model)
        assert [tokens for tokens, _ in found] == [len(ids) for ids, _ in expected], "the same number of tokens"
        pairs = [(own, vector) for (_, own), (_, vector) in zip(found, expected)]
        line = {"model": model.name, "texts": len(TEXTS), "tokens": sum(tokens for tokens, _ in found)}
        line["element_difference_max"] = float(f"{max(np.abs(own - vector).max() for own, vector in pairs):.2e}")
        line["hwledger"] = spread([1 - own @ vector for own, vector in pairs])
        if options.llama_cpp and model != options.directory:
            line["llama_cpp"] = spread([1 - theirs(options.llama_cpp, model, ids) @ vector for ids, vector in expected])
        lines.append(json.dumps(line))
        print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
