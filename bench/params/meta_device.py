#!/usr/bin/env python3
"""Compare `hwledger plan` with transformers' modules built on the meta device.

Every model type given (or all in TYPES) is built from its configuration class, as it is and with switches turned, one at
a time; the configuration goes to the planner as a file, and total parameters and every decoder layer's sum must be equal.

    python3 bench/params/meta_device.py --planner target/release/hwledger [--types llama,gemma3] > bench/params/results.tsv
"""
import argparse
import copy
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import CONFIG_MAPPING  # noqa: E402
from transformers.models.auto import modeling_auto as auto  # noqa: E402

TYPES = """albert apertus arcee aria audioflamingo3 aya_vision bart bert biogpt bitnet blenderbot blip-2 bloom camembert codegen cohere
cohere2 cohere2_moe cohere2_vision cwm data2vec-text deberta deberta-v2 deepseek_vl diffllama distilbert electra ernie ernie4_5
ernie4_5_vl_moe eurobert exaone4 exaone4_5 falcon fuyu gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text gemma4 gemma4_text
glm glm4 glm4v glm4v_moe glm_ocr glmasr gpt2 gpt_bigcode gpt_neo gpt_neox gptj granite granite_speech granite_swa
granitemoe_swa gte helium hunyuan_v1_dense hyperclovax ibert idefics2 idefics3 instructblip internlm3 internvl iquestcoder
jais2 led lfm3 lfm3_vl lighton_ocr llama llava llava_next llava_next_video llava_onevision longformer m2m_100 marian mbart
megatron-bert minicpm3 minimax_m3_vl minimax_m3_vl_text ministral ministral3 mistral mistral3 mistral_large4 mllama modernbert
modernbert-decoder mpnet mpt mt5 mvp nanochat nemotron nomic_bert olmo olmo2 olmo3 olmo_hybrid openai-gpt opt paddleocr_vl
paligemma pegasus persimmon phi phi3 plbart qwen2 qwen2_5_omni_thinker qwen2_5_vl qwen2_audio qwen2_vl qwen3 qwen3_asr
qwen3_moe qwen3_omni_moe_thinker qwen3_vl qwen3_vl_moe roberta roberta-prelayernorm seed_oss shieldgemma2 smollm3 smolvlm
stablelm starcoder2 step3p7 t5 t5gemma t5gemma2 umt5 vaultgemma video_llama_3 video_llava vipllava voxtral voxtral_realtime
whisper xglm xlm-roberta xlm-roberta-xl xlstm youtu""".split()
TASKS = ["IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM", "SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ", "CAUSAL_LM", "MASKED_LM"]
ENCODERS = {"albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "eurobert",
            "modernbert", "mpnet", "nomic_bert", "roberta", "xlm-roberta"}
SWITCH = re.compile(r"bias|norm|tie_word|multi_query|new_decoder|parallel|alibi|share_att|relative_attention|position_biased"
                    r"|use_qkv|use_post|use_clipped|double_wide|k_eq_v|pooler|vision_use_head|projector|mean_pool")
SIZE = re.compile(r"hidden_size|intermediate_size|ffn_dim|ffn_hidden|d_model|d_ff|d_kv|^dim$|hidden_dim|n_embd|n_inner|head_dim"
                  r"|_rank|vocab_size|(num|n)_.*(layers|layer|heads|head)$|^n_(layer|head)$|num_layers|(encoder|decoder)_(layers|"
                  r"attention_heads)|heads$|depth|patch_size|image_size|spatial_merge|num_patches|num_mel|embedding_size|"
                  r"max_position|n_positions|n_ctx|num_position|altup|mlp_ratio|expansion|factor$|max_(source|target)|"
                  r"word_embed|resampler|type_vocab|buckets|inner_group|hidden_groups|max_num_tiles|dims$")
KEEP = re.compile(r"eps|norm_topk|alibi_bias_max|do_layer_norm_before$|apply_residual|normalization$|norm_type|normalize"
                  r"|norm_std|classifier_bias|max_bias|_bias_max|unnorm")


def model_class(config, bare):
    if bare:
        return auto.MODEL_MAPPING[type(config)]
    tasks = ["MASKED_LM"] + TASKS if config.model_type in ENCODERS else TASKS
    for task in tasks:
        mapping = getattr(auto, "MODEL_FOR_%s_MAPPING" % task)
        if type(config) in mapping:
            found = mapping[type(config)]
            return found[0] if isinstance(found, (list, tuple)) else found
    return auto.MODEL_MAPPING[type(config)]


def build(config, bare=False):
    kind = model_class(config, bare)
    with torch.device("meta"):
        model = kind._from_config(config)
    model.tie_weights()
    layers = {}
    for name, parameter in model.named_parameters():
        found = re.match(r"(.*?\b(?:layers|h|block|blocks|layer))\.(\d+)\.", name)
        if found and not re.search(r"vision(?!_moe)|visual|audio|encoder\.block|encoder\.layers|projector|connector|perceiver|"
                                   r"resampler|image_tower|video_tower|albert_layer|qformer", name):
            layers.setdefault(found.group(1), {}).setdefault(int(found.group(2)), 0)
            layers[found.group(1)][int(found.group(2))] += parameter.numel()
    total = sum(p.numel() for p in model.parameters())
    best = max(layers.values(), key=len) if layers else {}
    return kind.__name__, total, [best[i] for i in sorted(best)]


def variants(kind):
    """The class default, and each switch of it or of its parts turned."""
    plain = CONFIG_MAPPING[kind]()
    yield "default", plain.to_dict()
    nested = {key: {"model_type": part["model_type"]} for key, part in plain.to_dict().items()
              if key.endswith("config") and isinstance(part, dict) and part.get("model_type")}
    yield "keys left out", dict(nested, model_type=kind)
    for path, value in sorted(sizes(nested, kind)):
        changed = copy.deepcopy(dict(nested, model_type=kind))
        place = changed
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
        yield "%s=%d" % (".".join(path), value), changed
    for path, value in sorted(switches(plain.to_dict())):
        changed = copy.deepcopy(plain.to_dict())
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = not value
        yield ".".join(path) + "=" + str(not value).lower(), changed


def sizes(nested, kind):
    """Other values for the sizes that the classes give, one at a time."""
    for path, part in [((), kind)] + [((key,), tree["model_type"]) for key, tree in nested.items()]:
        for field in dataclasses.fields(CONFIG_MAPPING[part]):
            value = field.default
            if isinstance(value, bool) or not isinstance(value, int) or not SIZE.search(field.name):
                continue
            if re.search(r"layers|depth", field.name):
                value = max(value // 2, 1)
            elif re.search(r"heads|groups", field.name):
                value = value // 2 if value % 2 == 0 else value
            elif field.name in ("num_mel_bins", "vocab_size") or "intermediate" in field.name or "ffn" in field.name:
                value += 24
            else:
                value *= 2
            if value != field.default:
                yield path + (field.name,), value


def switches(tree, path=()):
    for key, value in tree.items():
        if isinstance(value, dict) and key.endswith("config"):
            yield from switches(value, path + (key,))
        elif isinstance(value, bool) and SWITCH.search(key) and not KEEP.search(key):
            yield path + (key,), value


def cases(kinds):
    for kind in kinds:
        try:
            found = list(variants(kind))
        except Exception as error:  # a class that has no default
            print("%s\t-\tno default: %s" % (kind, str(error).split("\n")[0][:80]), file=sys.stderr)
            continue
        for name, tree in found:
            for bare in ([False, True] if kind in ENCODERS and name == "default" else [False]):
                tree = json.loads(json.dumps(tree, default=str))
                kept = {k: v for k, v in tree.items() if k != "model_type"}
                try:
                    config = CONFIG_MAPPING[kind](**copy.deepcopy(kept))
                    truth = build(config, bare)
                except Exception as error:
                    print("%s\t%s\tnot built: %s" % (kind, name, str(error).split("\n")[0][:80]), file=sys.stderr)
                    continue
                tree["architectures"] = [truth[0]]
                yield kind, name + (" bare" if bare else ""), tree, truth


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--planner", required=True)
    parser.add_argument("--types", default=",".join(TYPES))
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    found, requests = [], []
    with tempfile.TemporaryDirectory() as folder:
        for index, (kind, name, tree, truth) in enumerate(cases(args.types.split(","))):
            path = os.path.join(folder, "%d.json" % index)
            with open(path, "w", encoding="utf-8") as file:
                json.dump(tree, file)
            found.append((kind, name, truth))
            requests.append(json.dumps({"id": str(index), "model": path, "context": 512}))
        ran = subprocess.run([args.planner, "plan", "--requests", "-", "--json"], input="\n".join(requests) + "\n",
                             stdout=subprocess.PIPE, text=True, check=False)
    wrong = 0
    print("# transformers %s, torch %s, hwledger plan --requests; class defaults and single switches"
          % (transformers.__version__, torch.__version__))
    print("model_type\tvariant\tclass\tparameters\tplanned\tequal\tlayers_equal")
    for (kind, name, (cls, total, layers)), line in zip(found, ran.stdout.splitlines()):
        answer = json.loads(line)
        model = answer.get("model") or {}
        got = (model.get("parameters") or {}).get("total")
        got_layers = [x["parameters"] for x in model.get("layers") or []]
        same_layers = not layers or got_layers == layers
        wrong += got != total or not same_layers
        note = "" if got is not None else "\t" + str((answer.get("error") or {}).get("message"))[:150]
        print("%s\t%s\t%s\t%d\t%s\t%s\t%s%s" % (kind, name, cls, total, got, got == total, same_layers, note))
    print("# %d of %d equal" % (len(found) - wrong, len(found)))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
