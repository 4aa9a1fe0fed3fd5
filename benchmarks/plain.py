"""The peers: the same models as most people write them in plain PyTorch, in default settings.

Nothing here imports seriatim. Each model is trained by the loop that tutorials show: full
logits, `cross_entropy`, `AdamW`, `clip_grad_norm_`; and generates by the loop they show.

Shapes: B rows, L elements, V symbols, D features.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Recurrent(nn.Module):
    """nn.Embedding, nn.LSTM (or GRU, RNN), nn.Linear."""

    def __init__(self, kind: str, V: int, D: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, D)
        self.rnn = getattr(nn, kind)(D, D, layers, batch_first=True)
        self.head = nn.Linear(D, V)

    def forward(self, x: Tensor, hidden: Any = None) -> tuple[Tensor, Any]:
        out, hidden = self.rnn(self.embed(x), hidden)
        return self.head(out), hidden


class Window(nn.Module):
    """The last k embeddings, concatenated, into two linear layers."""

    def __init__(self, V: int, k: int, E: int, D: int) -> None:
        super().__init__()
        self.k, self.embed = k, nn.Embedding(V, E)
        self.net = nn.Sequential(nn.Linear(k * E, D), nn.Tanh(), nn.Linear(D, V))

    def forward(self, x: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        past = x.new_zeros(len(x), self.k - 1) if past is None else past
        whole = torch.cat([past, x], 1)
        windows = self.embed(whole).unfold(1, self.k, 1).transpose(2, 3).flatten(2)
        return self.net(windows), whole[:, -(self.k - 1) :]


class Block(nn.Module):
    """A decoder block as tutorials write it."""

    def __init__(self, D: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.mlp = nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(), nn.Linear(4 * D, D))

    def forward(self, h: Tensor) -> Tensor:
        B, L, D = h.shape
        parts = self.qkv(self.norm1(h)).split(D, -1)
        q, k, v = (t.view(B, L, self.heads, -1).transpose(1, 2) for t in parts)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.out(a.transpose(1, 2).reshape(B, L, D))
        return h + self.mlp(self.norm2(h))


class Transformer(nn.Module):
    """Learned positions, pre-norm blocks; no cache: generating recomputes the window."""

    def __init__(self, V: int, D: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.embed, self.position = nn.Embedding(V, D), nn.Embedding(context, D)
        self.blocks = nn.Sequential(*(Block(D, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(D), nn.Linear(D, V, bias=False)

    def forward(self, x: Tensor, hidden: Any = None) -> tuple[Tensor, Any]:
        h = self.embed(x) + self.position(torch.arange(x.shape[1], device=x.device))
        return self.head(self.norm(self.blocks(h))), None


def training_steps(
    model: nn.Module, tokens: np.ndarray, B: int, L: int, rate: float = 1e-3
) -> Iterator[None]:
    """The training loop of the tutorials: one step per item taken."""
    data = torch.from_numpy(tokens.astype(np.int64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    model.train()
    while True:
        starts = torch.randint(len(data) - L - 1, (B,))
        x = torch.stack([data[i : i + L] for i in starts])
        y = torch.stack([data[i + 1 : i + L + 1] for i in starts])
        logits, _ = model(x)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        yield


@torch.no_grad()
def generating(model: nn.Module) -> Iterator[int]:
    """One symbol per item taken: softmax and multinomial, as tutorials do."""
    model.eval()
    is_window = isinstance(model, Transformer)
    device = next(model.parameters()).device
    x, hidden = torch.zeros(1, 1, dtype=torch.int64, device=device), None
    while True:
        logits, hidden = model(x[:, -model.context :] if is_window else x, hidden)
        symbol = torch.multinomial(logits[:, -1].softmax(-1), 1)
        x = torch.cat([x, symbol], 1) if is_window else symbol
        yield int(symbol)


def count_ngrams(text: list[int], order: int) -> dict[tuple[int, ...], Counter[int]]:
    """Counting n-grams as tutorials do: a dictionary of counters."""
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for i in range(order - 1, len(text)):
        counts[tuple(text[i - order + 1 : i])][text[i]] += 1
    return counts
