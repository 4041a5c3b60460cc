"""Logits of tiny random models, and states of encoders, by an implementation that is not ours: transformers, in double precision.

    oracle.py FOLDER [NAME...]              # models, logits and golden files into FOLDER
    oracle.py FOLDER --llama-cpp PEERS      # also GGUF through llama.cpp's own converter, and its logits

For every model it writes, into FOLDER/NAME: `config.json` with the keys that published files have,
`model.safetensors` (F16, published names), `logits.npy` ([tokens, vocabulary], f32), `model.json`
(versions, token ids, how each tensor is made, how far single precision and llama.cpp are away) and,
with --llama-cpp, `model-f32.gguf` and `model-f16.gguf`. Models differ where programs go wrong: heads
that do not fill the width, grouped keys, windows shorter than the text, soft caps, multipliers,
partial and scaled rotations past the trained length, shared and routed experts, latent attention.

A weight is a function of its name and its index alone, so that a test can make it anew:
    x = crc32(name) * 2^32 + index            (row-major index in the published shape)
    z = splitmix64's output function of x + 0x9e3779b97f4a7c15
    weight = base + int8(z >> 56) * 2^exponent         (exact in F16)
with `base` and `exponent` of each tensor in model.json.

Encoders have `states.npy` instead ([tokens of all texts, width], f32): the last layer's, each text computed alone.

Double precision is meant: the modules cast to torch.float32 in norms, softmax and rotations, so that
name stands for float64 while the model is built and run.
"""

import argparse
import contextlib
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

os.environ["HF_HUB_OFFLINE"] = "1"
TOKENS = [(7 * i * i + 13 * i + 5) % 304 for i in range(40)]
VOCABULARY, SPECIAL = 320, 16

BASE = {"vocab_size": VOCABULARY, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
BASE |= {"num_key_value_heads": 2, "intermediate_size": 352, "max_position_embeddings": 64}
BASE |= {"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False}
LLAMA = BASE | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
MISTRAL = BASE | {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}
QWEN2 = BASE | {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": False}
QWEN3 = BASE | {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "head_dim": 48, "attention_bias": False}
GEMMA = BASE | {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True}
GEMMA |= {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 48, "intermediate_size": 288}
PHI3 = BASE | {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "sliding_window": None}
PHI3 |= {"original_max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 1}
LONGROPE = {"type": "longrope", "short_factor": [1 + 0.05 * i for i in range(16)], "long_factor": [1 + 0.5 * i for i in range(16)]}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 96}
DEEPSEEK2 = BASE | {"model_type": "deepseek_v2", "architectures": ["DeepseekV2ForCausalLM"], "num_key_value_heads": 4}
DEEPSEEK2 |= {"rms_norm_eps": 1e-6}  # the latent norms of transformers have this one whatever the configuration says
DEEPSEEK2 |= {"q_lora_rank": None, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 48}
DEEPSEEK2 |= {"first_k_dense_replace": 1, "moe_layer_freq": 1, "n_routed_experts": 6, "n_shared_experts": 2}
DEEPSEEK2 |= {"num_experts_per_tok": 2, "moe_intermediate_size": 64, "routed_scaling_factor": 1.0}
DEEPSEEK2 |= {"topk_method": "greedy", "norm_topk_prob": False, "scoring_func": "softmax", "n_group": 1, "topk_group": 1}
DEEPSEEK_YARN = {"type": "yarn", "factor": 4, "original_max_position_embeddings": 16, "beta_fast": 32, "beta_slow": 1}

GPT_OSS = BASE | {"model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"], "num_hidden_layers": 4}
GPT_OSS |= {"head_dim": 48, "attention_bias": True, "sliding_window": 8, "rope_theta": 150000.0}
GPT_OSS |= {"layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]}
GPT_OSS |= {"num_local_experts": 4, "num_experts_per_tok": 2, "experts_per_token": 2, "intermediate_size": 96, "swiglu_limit": 7.0}
GPT_OSS_YARN = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 16}

MODELS = {
    "llama": LLAMA | {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8, "head_dim": 64},
    "llama-tied-bias": LLAMA | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1},
    "llama-linear": LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "llama-dynamic": LLAMA | {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}, "max_position_embeddings": 16},
    "llama-yarn": LLAMA | {"rope_scaling": YARN},
    "llama3": LLAMA
    | {
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    },
    "smollm": LLAMA | {"hidden_size": 96, "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 256, "tie_word_embeddings": True},
    "smollm3": BASE
    | {
        "model_type": "smollm3",
        "architectures": ["SmolLM3ForCausalLM"],
        "num_hidden_layers": 4,
        "no_rope_layers": [1, 1, 1, 0],
        "no_rope_layer_interval": 4,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "use_sliding_window": False,
        "sliding_window": None,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "mistral": MISTRAL | {"head_dim": 48},
    "mistral-window": MISTRAL | {"sliding_window": 8},
    "mixtral": BASE
    | {
        "model_type": "mixtral",
        "architectures": ["MixtralForCausalLM"],
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "intermediate_size": 160,
        "sliding_window": None,
    },
    "qwen2": QWEN2 | {"tie_word_embeddings": True, "rope_theta": 1000000.0},
    "qwen2-yarn": QWEN2 | {"rope_scaling": YARN},
    "qwen2-window": QWEN2 | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1, "num_hidden_layers": 3},
    "qwen2moe": BASE
    | EXPERTS
    | {
        "model_type": "qwen2_moe",
        "architectures": ["Qwen2MoeForCausalLM"],
        "shared_expert_intermediate_size": 160,
        "norm_topk_prob": False,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "use_sliding_window": False,
    },
    "qwen3": QWEN3,
    "qwen3moe": QWEN3
    | EXPERTS
    | {
        "model_type": "qwen3_moe",
        "architectures": ["Qwen3MoeForCausalLM"],
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "use_sliding_window": False,
    },
    "gemma": GEMMA | {"model_type": "gemma", "architectures": ["GemmaForCausalLM"]},
    "gemma2": GEMMA
    | {
        "model_type": "gemma2",
        "architectures": ["Gemma2ForCausalLM"],
        "num_hidden_layers": 4,
        "sliding_window": 8,
        "attn_logit_softcapping": 4.0,
        "final_logit_softcapping": 3.0,
        "query_pre_attn_scalar": 48,
    },
    # The scale of Gemma 2 27B is not one over the root of its head size; GGUF holds no key for it.
    "gemma2-scalar": GEMMA
    | {
        "model_type": "gemma2",
        "architectures": ["Gemma2ForCausalLM"],
        "sliding_window": 8,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "query_pre_attn_scalar": 24,
    },
    "gemma3": GEMMA
    | {
        "model_type": "gemma3_text",
        "architectures": ["Gemma3ForCausalLM"],
        "num_hidden_layers": 7,
        "intermediate_size": 160,
        "sliding_window": 8,
        "sliding_window_pattern": 6,
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "query_pre_attn_scalar": 48,
        "attention_bias": False,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
    },
    "phi3": PHI3,
    "phi3-longrope-long": PHI3
    | {"rope_scaling": LONGROPE, "original_max_position_embeddings": 16, "max_position_embeddings": 128},
    "phi3-longrope-short": PHI3
    | {"rope_scaling": LONGROPE, "original_max_position_embeddings": 256, "max_position_embeddings": 1024},
    "phi4-mini": PHI3
    | {
        "partial_rotary_factor": 0.75,
        "tie_word_embeddings": True,
        "rope_scaling": LONGROPE | {"short_factor": LONGROPE["short_factor"][:12], "long_factor": LONGROPE["long_factor"][:12]},
        "original_max_position_embeddings": 16,
        "max_position_embeddings": 128,
    },
    "phi3-window": PHI3 | {"sliding_window": 8},
    "granite": BASE
    | {
        "model_type": "granite",
        "architectures": ["GraniteForCausalLM"],
        "embedding_multiplier": 6.0,
        "attention_multiplier": 0.125,
        "residual_multiplier": 0.3,
        "logits_scaling": 4.0,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
    },
    "olmo2": BASE | {"model_type": "olmo2", "architectures": ["Olmo2ForCausalLM"], "attention_bias": False},
    "olmo3": BASE
    | {
        "model_type": "olmo3",
        "architectures": ["Olmo3ForCausalLM"],
        "attention_bias": False,
        "num_hidden_layers": 4,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
        "rope_theta": 500000.0,
        "rope_scaling": YARN | {"beta_fast": 32.0, "beta_slow": 1.0},
    },
    "gpt-oss": GPT_OSS | {"rope_scaling": GPT_OSS_YARN | {"truncate": False}},
    "gpt-oss-truncate": GPT_OSS | {"rope_scaling": GPT_OSS_YARN | {"truncate": True}},
    "glm4": BASE
    | {
        "model_type": "glm4",
        "architectures": ["Glm4ForCausalLM"],
        "head_dim": 32,
        "partial_rotary_factor": 0.5,
        "attention_bias": True,
        "pad_token_id": 0,
        "eos_token_id": [1],
    },
    "deepseek2-lite": DEEPSEEK2
    | {"rope_scaling": DEEPSEEK_YARN | {"mscale": 0.707, "mscale_all_dim": 0.707}},
    "deepseek2": DEEPSEEK2 | {"q_lora_rank": 64, "rope_scaling": DEEPSEEK_YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}},
    "deepseek2-groups": DEEPSEEK2
    | {
        "q_lora_rank": 64,
        "topk_method": "group_limited_greedy",
        "n_group": 3,
        "topk_group": 1,
        "routed_scaling_factor": 2.0,
    },
    "deepseek3": DEEPSEEK2
    | {
        "model_type": "deepseek_v3",
        "architectures": ["DeepseekV3ForCausalLM"],
        "q_lora_rank": 64,
        "n_routed_experts": 8,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "n_group": 4,
        "topk_group": 2,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "rope_scaling": DEEPSEEK_YARN | {"mscale": 1.0, "mscale_all_dim": 1.0},
        "rope_interleave": True,
    },
    "glm4-flash": DEEPSEEK2
    | {
        "model_type": "glm4_moe_lite",
        "architectures": ["Glm4MoeLiteForCausalLM"],
        "num_hidden_layers": 3,
        "q_lora_rank": 64,
        "qk_nope_head_dim": 48,
        "v_head_dim": 64,
        "n_routed_experts": 8,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.8,
        "partial_rotary_factor": 1.0,
        "rope_theta": 1000000.0,
        "rope_interleave": True,
    },
}
# Texts of encoders: one token, a few, more than two pages of attention.
TEXTS = [[5], [(11 * i + 3) % 304 for i in range(9)], [(7 * i * i + 13 * i + 5) % 304 for i in range(70)]]
BERT = {"model_type": "bert", "architectures": ["BertModel"], "vocab_size": VOCABULARY, "hidden_size": 96, "num_hidden_layers": 3}
BERT |= {"num_attention_heads": 3, "intermediate_size": 200, "max_position_embeddings": 80, "type_vocab_size": 2}
BERT |= {"layer_norm_eps": 1e-12, "hidden_act": "gelu", "pad_token_id": 0}
# Positions count from the one after padding's.
ROBERTA = {"model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"], "type_vocab_size": 1, "pad_token_id": 1}
ROBERTA |= {"max_position_embeddings": 82, "layer_norm_eps": 1e-5}
ENCODERS = {
    "bert": BERT,
    "bert-tanh": BERT | {"hidden_act": "gelu_new"},
    "xlm-roberta": BERT | ROBERTA,
    "nomic-bert": BERT
    | {"model_type": "nomic_bert", "architectures": ["NomicBertModel"], "hidden_act": "silu"}
    | {"rope_parameters": {"rope_type": "default", "rope_theta": 1000.0}},
}
# What llama.cpp's file format or its graph leaves out: such a model gets no GGUF, or one with other results.
NO_GGUF = {
    "llama-dynamic": "llama.cpp has no dynamic scaling of the base",
    "mistral-window": "the graph of `llama` has no window",
    "qwen2-window": "the graph of `qwen2` has no window",
    "phi3-window": "llama.cpp turns the window of `phi3` off",
    "gemma2-scalar": "no key for query_pre_attn_scalar",
    "deepseek2-groups": "llama.cpp scores a group by its best two experts, as V3 does; V2 by the best one",
}
OTHER_GGUF = {
    "gpt-oss": "llama.cpp always rounds the bounds of YaRN's ramp, as truncate does",
    "deepseek2-lite": "llama.cpp knows a model without q_lora_rank by its number of layers",
}


def weights(name, shape, base, exponent):
    index = np.arange(math.prod(shape), dtype=np.uint64)
    z = (np.uint64(zlib.crc32(name.encode())) << np.uint64(32)) + index + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    values = (z >> np.uint64(56)).astype(np.uint8).view(np.int8)
    exact = base + values.astype(np.float64) * 2.0**exponent
    half = exact.astype(np.float16)
    assert (half == exact).all(), name
    return half.reshape(shape)


def recipe(config, name, shape):
    """Base and exponent that keep activations near one and attention far from even."""
    if len(shape) == 1:
        if "norm" in name.lower() and name.endswith("weight"):
            return (0 if config["model_type"].startswith("gemma") else 1), -10
        return 0, -6 if name.endswith("sinks") else -9
    if "embed_tokens" in name or "_embeddings" in name:
        return 0, -8
    inputs = shape[-2] if config["model_type"] == "gpt_oss" and name.endswith("_proj") and "experts" in name else shape[-1]
    if name.endswith("_bias"):  # of experts
        return 0, -9
    sharp = any(part in name for part in ("q_proj", "k_proj", "q_b_proj", "self.query", "self.key"))
    if config["model_type"] == "gpt_oss" and "gate_up_proj" in name:
        sharp = 4  # beyond swiglu_limit now and then
    return 0, sharp - round(math.log2(74 * math.sqrt(inputs)))


@contextlib.contextmanager
def double_precision(torch):
    kept = torch.float32, torch.float, torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = kept
        torch.set_default_dtype(torch.float32)


def make(folder, name, config):
    import safetensors.numpy
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float16", "torch_dtype": "float16"}, indent=2) + "\n")
    eager = {"attn_implementation": "eager", "experts_implementation": "eager"}
    loaded = transformers.AutoConfig.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as scratch:
        transformers.AutoModelForCausalLM.from_config(loaded).save_pretrained(scratch)
        shapes = {key: value.shape for key, value in safetensors.numpy.load_file(Path(scratch) / "model.safetensors").items()}
    tensors = [(key, list(shapes[key]), *recipe(config, key, shapes[key])) for key in sorted(shapes)]
    made = {tensor[0]: weights(*tensor) for tensor in tensors}
    safetensors.numpy.save_file(made, folder / "model.safetensors", {"format": "pt"})

    ids = torch.tensor([TOKENS])
    single = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **eager).eval()
    with torch.no_grad():
        near = single(ids).logits[0].double().numpy()
    with double_precision(torch):
        model = type(single)(single.config).double().eval()
        missing = model.load_state_dict({key: value.double() for key, value in single.state_dict().items()})
        assert not missing.missing_keys and not missing.unexpected_keys
        assert all(value.dtype != kept_float32 for value in model.buffers() for kept_float32 in [torch.empty(0, dtype=single.dtype).dtype])
        with torch.no_grad():
            logits = model(ids).logits[0]
    assert logits.dtype == torch.float64 and logits.shape == (len(TOKENS), VOCABULARY)
    logits = logits.numpy()
    assert np.isfinite(logits).all()
    np.save(folder / "logits.npy", logits.astype(np.float32))
    about = {
        "name": name,
        "tokens": TOKENS,
        "transformers": transformers.__version__,
        "torch": torch.__version__.split("+")[0],
        "tensors": tensors,
        "safetensors_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "logits_deviation": round(float(logits.std()), 4),
        "single_precision_error": float(f"{np.abs(near - logits).max():.2e}"),
    }
    return about, logits


def make_encoder(folder, name, config):
    import safetensors.numpy
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    loaded = transformers.AutoConfig.from_pretrained(folder)
    eager = {"attn_implementation": "eager"}
    with tempfile.TemporaryDirectory() as scratch:
        transformers.AutoModel.from_config(loaded).save_pretrained(scratch)
        shapes = {key: value.shape for key, value in safetensors.numpy.load_file(Path(scratch) / "model.safetensors").items()}
    tensors = [(key, list(shapes[key]), *recipe(config, key, shapes[key])) for key in sorted(shapes) if "pooler" not in key]
    made = {tensor[0]: weights(*tensor) for tensor in tensors}
    safetensors.numpy.save_file(made, folder / "model.safetensors", {"format": "pt"})

    single = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, **eager).eval()
    with double_precision(torch):
        model = type(single)(single.config).double().eval()
        missing = model.load_state_dict({key: value.double() for key, value in single.state_dict().items()})
        assert not missing.missing_keys and not missing.unexpected_keys
    rows, near = [], []
    for text in TEXTS:
        # Padding inside a text would be skipped by the positions of RoBERTa.
        assert config["pad_token_id"] not in text or config["model_type"] in ("bert", "nomic_bert")
        ids = torch.tensor([text])
        everything = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.no_grad():
            near.append(single(**everything).last_hidden_state[0].double().numpy())
            with double_precision(torch):
                rows.append(model(**everything).last_hidden_state[0])
        assert rows[-1].dtype == torch.float64
    states, near = np.concatenate([row.numpy() for row in rows]), np.concatenate(near)
    assert states.shape == (sum(map(len, TEXTS)), config["hidden_size"]) and np.isfinite(states).all()
    np.save(folder / "states.npy", states.astype(np.float32))
    about = {
        "name": name,
        "texts": TEXTS,
        "transformers": transformers.__version__,
        "torch": torch.__version__.split("+")[0],
        "tensors": tensors,
        "safetensors_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "states_deviation": round(float(states.std()), 4),
        "single_precision_error": float(f"{np.abs(near - states).max():.2e}"),
    }
    return about


def convert(folder, source, kind):
    """llama.cpp's own converter, in this process, with a made-up vocabulary in place of a tokenizer's."""
    sys.path[:0] = [str(source / "gguf-py"), str(source)]
    import gguf
    import torch
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class
    from models import vocabulary

    import logging

    logging.disable(logging.INFO)
    parameters = ModelBase.load_hparams(folder, False)
    architecture = get_model_architecture(parameters, ModelType.TEXT)

    class Model(get_model_class(architecture)):
        model_arch = get_model_class(architecture).model_arch

        def set_vocab(self):
            tokens, kinds, merges = vocabulary(VOCABULARY, SPECIAL)
            self.gguf_writer.add_tokenizer_model("gpt2")
            self.gguf_writer.add_tokenizer_pre("llama-bpe")
            self.gguf_writer.add_token_list(tokens)
            self.gguf_writer.add_token_types(kinds)
            self.gguf_writer.add_token_merges(merges)
            self.gguf_writer.add_bos_token_id(tokens.index("<|begin_of_text|>"))
            self.gguf_writer.add_eos_token_id(tokens.index("<|eot_id|>"))

    target = folder / f"model-{kind}.gguf"
    file_type = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16}[kind]
    counted = folder / "tokenizer.json"  # Gemma's converter counts the tokens in it
    counted.write_text(json.dumps({"model": {"vocab": vocabulary(VOCABULARY, SPECIAL)[0]}, "added_tokens": []}))
    with torch.inference_mode():
        Model(folder, file_type, target, model_name="Oracle").write()
    counted.unlink()
    return target


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--golden", type=Path, help="folder for NAME.json and NAME.npy, all that a test needs")
    parser.add_argument("--llama-cpp", type=Path, help="folder that peers.sh built into")
    options = parser.parse_args()
    for name in options.names or ENCODERS:
        if name not in ENCODERS:
            continue
        folder = options.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        about = make_encoder(folder, name, ENCODERS[name])
        (folder / "model.json").write_text(json.dumps(about) + "\n")
        if options.golden:
            options.golden.mkdir(parents=True, exist_ok=True)
            (options.golden / f"{name}.json").write_text(json.dumps({"config": ENCODERS[name]} | about) + "\n")
            shutil.copy(folder / "states.npy", options.golden / f"{name}.npy")
        deviation, error = about["states_deviation"], about["single_precision_error"]
        print(f"{name:20} deviation {deviation:8.3f}  single precision {error:.1e}", flush=True)
    for name in options.names or MODELS:
        if name in ENCODERS:
            continue
        folder = options.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        about, logits = make(folder, name, MODELS[name])
        line = f"{name:20} deviation {about['logits_deviation']:8.3f}  single precision {about['single_precision_error']:.1e}"
        if options.llama_cpp and name not in NO_GGUF:
            source = next((options.llama_cpp / "src").glob("llama_cpp_python-*/vendor/llama.cpp"))
            about["llama_cpp"] = (options.llama_cpp / "native/VERSION").read_text().splitlines()[0]
            try:
                for kind in ("f32", "f16"):
                    convert(folder, source, kind)
                command = [options.llama_cpp / "native/bin/logits", folder / "model-f32.gguf", "256", *map(str, TOKENS)]
                theirs = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                theirs = np.frombuffer(theirs, dtype=np.float32).reshape(logits.shape)
                about["llama_cpp_error"] = float(f"{np.abs(theirs - logits).max():.2e}")
                line += f"  llama.cpp {about['llama_cpp_error']:.1e}"
            except Exception as error:
                line += f"  llama.cpp: {type(error).__name__} {error}"
        for key, reasons in (("no_gguf", NO_GGUF), ("other_gguf", OTHER_GGUF)):
            if name in reasons:
                about[key] = reasons[name]
        (folder / "model.json").write_text(json.dumps(about) + "\n")
        if options.golden:
            options.golden.mkdir(parents=True, exist_ok=True)
            (options.golden / f"{name}.json").write_text(json.dumps({"config": MODELS[name]} | about) + "\n")
            shutil.copy(folder / "logits.npy", options.golden / f"{name}.npy")
        print(line, flush=True)


if __name__ == "__main__":
    main()
