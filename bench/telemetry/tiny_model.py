"""Writes a Llama of two layers with random weights and a byte tokenizer, for engines that read directories.

    python tiny_model.py DIRECTORY
"""

import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

directory = sys.argv[1]
letters = sorted(pre_tokenizers.ByteLevel.alphabet())
vocabulary = {letter: token for token, letter in enumerate(["<s>", "</s>", *letters])}
tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(directory)

torch.manual_seed(1)
config = LlamaConfig(
    vocab_size=320, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=32, max_position_embeddings=512, bos_token_id=0, eos_token_id=1,
    tie_word_embeddings=False, dtype="float32",
)
LlamaForCausalLM(config).save_pretrained(directory)
