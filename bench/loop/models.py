#!/usr/bin/env python3
"""Makes a model of random weights for mlx-lm: a directory with config.json, model.safetensors and tokenizer.json.

    models.py FOLDER [--layers 16] [--width 1024] [--bits 0|4|8]

The shape is Llama's. The tokenizer is trained on words, so that prompts have a token or two per word. `--bits` quantises in
groups of 64, as mlx_lm.convert does. Nothing is fetched.
"""

import argparse
import json
import pathlib

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.models import llama
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

WORDS = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you "
    "were"
).split()


def tokenizer(folder, vocabulary):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator([" ".join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))] * 4, trainer)
    made.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--bits", type=int, default=0, choices=[0, 4, 8])
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": arguments.width,
        "num_hidden_layers": arguments.layers,
        "intermediate_size": arguments.width * 4,
        "num_attention_heads": arguments.width // 64,
        "num_key_value_heads": arguments.width // 256,
        "head_dim": 64,
        "rms_norm_eps": 1e-5,
        "vocab_size": 8192,
        "max_position_embeddings": 8192,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "torch_dtype": "float16",
    }
    mx.random.seed(1)
    fields = {key: value for key, value in config.items() if key not in ("architectures", "torch_dtype")}
    model = llama.Model(llama.ModelArgs.from_dict(fields))
    model.set_dtype(mx.float16)
    if arguments.bits:
        nn.quantize(model, group_size=64, bits=arguments.bits)
        config["quantization"] = {"group_size": 64, "bits": arguments.bits}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), metadata={"format": "mlx"})
    tokenizer(folder, 8192)


main()
