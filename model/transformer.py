"""The network in PyTorch; model/transformer.c computes the same. Shapes in comments: [rows][characters][width].

RMSNorm, attention with RoPE and grouped key and value heads, RMSNorm, SwiGLU; the head is the embedding again."""
import array
import dataclasses

import torch
import torch.nn as nn
import torch.nn.functional as F

import game
import weights


@dataclasses.dataclass(frozen=True)
class Shape:
    vocabulary: str = game.VOCABULARY
    layers: int = 6
    width: int = 256
    heads: int = 4
    kv_heads: int = 2      # query head h reads key and value head h // (heads / kv_heads)
    head_dim: int = 64
    hidden: int = 640      # of SwiGLU
    rope_base: float = 10000
    norm_eps: float = 1e-5
    context: int = game.CONTEXT


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


def rotate(x, cos, sin):
    """RoPE: turns the pairs (i, i + head_dim / 2). x [...][head_dim]; cos, sin [...][head_dim / 2]."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Layer(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.attention_norm = RMSNorm(shape.width, shape.norm_eps)
        self.wq = nn.Linear(shape.width, queries, bias=False)
        self.wk = nn.Linear(shape.width, keys, bias=False)
        self.wv = nn.Linear(shape.width, keys, bias=False)
        self.wo = nn.Linear(queries, shape.width, bias=False)
        self.mlp_norm = RMSNorm(shape.width, shape.norm_eps)
        self.w_gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.w_up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.w_down = nn.Linear(shape.hidden, shape.width, bias=False)

    def query_key_value(self, x, cos, sin):
        """x [rows][characters][width] -> q, k, v [rows][heads or kv_heads][characters][head_dim], rotated by RoPE"""
        x = self.attention_norm(x)
        q, k, v = (w(x).unflatten(-1, (-1, self.shape.head_dim)).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def mlp(self, x):
        x = self.mlp_norm(x)
        return self.w_down(F.silu(self.w_gate(x)) * self.w_up(x))

    def forward(self, x, cos, sin):
        q, k, v = self.query_key_value(x, cos, sin)
        group = self.shape.heads // self.shape.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        attention = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.wo(attention.transpose(1, 2).flatten(2))
        return x + self.mlp(x)


class Transformer(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(len(shape.vocabulary), shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.final_norm = RMSNorm(shape.width, shape.norm_eps)
        frequency = shape.rope_base ** (-torch.arange(0, shape.head_dim, 2) / shape.head_dim)
        angle = torch.arange(shape.context)[:, None] * frequency                 # [context][head_dim / 2]
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_residual = name.endswith(("wo.weight", "w_down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * shape.layers) ** 0.5 if into_residual else 0.02)

    def head(self, x):
        return F.linear(self.final_norm(x), self.embedding.weight)

    def forward(self, tokens):
        """tokens [rows][characters] -> logits [rows][characters][vocabulary]"""
        x = self.embedding(tokens)
        cos, sin = self.cos[:tokens.shape[1]], self.sin[:tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.head(x)


class Decoder:
    """Rows of text with their keys and values; a step appends one character to each. The rows share nothing here: the
    C program keeps them in blocks that branches share."""

    def __init__(self, model: Transformer, rows: int, room: int):
        shape, device = model.shape, model.embedding.weight.device
        self.model, self.shape, self.device = model, shape, device
        self.length = torch.zeros(rows, dtype=torch.long, device=device)
        self.cache = torch.zeros(2, shape.layers, rows, shape.kv_heads, room, shape.head_dim, device=device)

    def take(self, rows):
        """Row i becomes the old row rows[i]: forks where one occurs twice, prunes where one is missing."""
        if not torch.equal(rows, torch.arange(len(self.length), device=self.device)):
            self.length, self.cache = self.length[rows], self.cache[:, :, rows]

    @torch.no_grad()
    def step(self, tokens, active):
        """tokens, active [rows] -> logits [rows][vocabulary]; a row that is not active does not grow."""
        model, rows = self.model, torch.arange(len(tokens), device=self.device)
        place = self.length.clamp(max=self.cache.shape[-2] - 1)                            # a full row does not grow
        end = int(place.max()) + 1
        cos, sin = model.cos[place, None, None], model.sin[place, None, None]              # [rows][1][1][head_dim / 2]
        later = torch.arange(end, device=self.device) > place[:, None]
        x = model.embedding(tokens)[:, None]                                               # [rows][1][width]
        for layer, keys, values in zip(model.layers, *self.cache):                    # [rows][kv_heads][room][head_dim]
            q, k, v = layer.query_key_value(x, cos, sin)
            keys[rows, :, place], values[rows, :, place] = k[:, :, 0], v[:, :, 0]
            q = q.unflatten(1, (self.shape.kv_heads, -1))[..., 0, :]                 # [rows][kv_heads][group][head_dim]
            scores = q @ keys[:, :, :end].transpose(-1, -2) / self.shape.head_dim ** 0.5
            weight = scores.masked_fill(later[:, None, None], float("-inf")).softmax(-1)
            x = x + layer.wo((weight @ values[:, :, :end]).flatten(1))[:, None]
            x = x + layer.mlp(x)
        self.length = self.length + active
        return model.head(x)[:, 0]


# ---------------------------------------------------------------- the weights file


def save(model: Transformer, path: str, command: str, commit: str, seed: int) -> None:
    values = {name.removesuffix(".weight"): array.array("f", parameter.detach().float().cpu().flatten().tolist())
              for name, parameter in model.named_parameters()}
    weights.write(path, {**dataclasses.asdict(model.shape), "command": command, "commit": commit, "seed": seed,
                         "split": game.SPLIT}, values)


def load(path: str) -> tuple[Transformer, dict]:
    header, values = weights.read(path)
    kinds = {field.name: field.type for field in dataclasses.fields(Shape)}
    model = Transformer(Shape(**{name: kind(header[name]) for name, kind in kinds.items()}))
    for name, parameter in model.named_parameters():
        value = torch.frombuffer(values[name.removesuffix(".weight")], dtype=torch.float32)
        parameter.data.copy_(value.view(parameter.shape))
    return model.eval(), header
