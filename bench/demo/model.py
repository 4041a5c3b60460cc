"""The Llama architecture in plain torch, in the sizes of the demonstration model."""

import torch
from torch import nn
from torch.nn import functional as F

VOCABULARY = 2048
HIDDEN = 256
LAYERS = 4
FEED_FORWARD = 768
HEADS = 8
KEY_HEADS = 4
HEAD = 32
CONTEXT = 512
EPSILON = 1e-5
ROPE_BASE = 10000.0


def angles() -> torch.Tensor:
    """Angles of each position and rotated pair."""
    rates = ROPE_BASE ** (-torch.arange(0, HEAD, 2, dtype=torch.float64) / HEAD)
    return torch.outer(torch.arange(CONTEXT, dtype=torch.float64), rates)


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(HIDDEN))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON) * self.weight


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotates the pairs (i, i + HEAD / 2), as transformers orders them."""
    low, high = x.chunk(2, -1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn_norm, self.ffn_norm = Norm(), Norm()
        self.attn_q = nn.Linear(HIDDEN, HEADS * HEAD, bias=False)
        self.attn_k = nn.Linear(HIDDEN, KEY_HEADS * HEAD, bias=False)
        self.attn_v = nn.Linear(HIDDEN, KEY_HEADS * HEAD, bias=False)
        self.attn_output = nn.Linear(HEADS * HEAD, HIDDEN, bias=False)
        self.ffn_gate = nn.Linear(HIDDEN, FEED_FORWARD, bias=False)
        self.ffn_up = nn.Linear(HIDDEN, FEED_FORWARD, bias=False)
        self.ffn_down = nn.Linear(FEED_FORWARD, HIDDEN, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        y = self.attn_norm(x)
        q = rotate(self.attn_q(y).view(batch, length, HEADS, HEAD).transpose(1, 2), cos, sin)
        k = rotate(self.attn_k(y).view(batch, length, KEY_HEADS, HEAD).transpose(1, 2), cos, sin)
        v = self.attn_v(y).view(batch, length, KEY_HEADS, HEAD).transpose(1, 2)
        k, v = (t.repeat_interleave(HEADS // KEY_HEADS, 1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_output(y.transpose(1, 2).reshape(batch, length, HEADS * HEAD))
        y = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(y)) * self.ffn_up(y))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token_embd = nn.Embedding(VOCABULARY, HIDDEN)
        self.blk = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.output_norm = Norm()
        self.register_buffer("cos", angles().cos().float(), persistent=False)
        self.register_buffer("sin", angles().sin().float(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                is_last = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(weight, std=0.02 * ((2 * LAYERS) ** -0.5 if is_last else 1.0))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        x = self.token_embd(tokens)
        for layer in self.blk:
            x = layer(x, self.cos[:length], self.sin[:length])
        return F.linear(self.output_norm(x), self.token_embd.weight)
