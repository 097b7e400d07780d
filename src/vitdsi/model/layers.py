"""The layers of a transformer: attention, feed-forward network, encoder block, dropout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) with a mask of 16 random bits for each value, four values to a draw.

    It does the same as nn.Dropout, except that `p` is rounded to a multiple of 2^-16. nn.Dropout makes a draw for each
    value: on a CPU, a training step of the paper's model takes 8 to 10 % longer with it. The paper's figures were
    measured with these masks; the product does not use dropout.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        keep = bits.view(torch.int16)[: x.numel()].view(x.shape) >= round(self.p * 2**16) - 2**15
        return x * keep.to(x.dtype).mul_(1 / (1 - self.p))


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017).

    Queries (B, T, D) attend to keys and values that `keys_values` has computed from (B, S, D). They are computed once,
    for an image as well as for each token that a decoder has written. As in ViT (Dosovitskiy et al. 2021, appendix
    B.1), attention weights are not dropped, so that torch's fused kernel serves training too.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key_value = nn.Linear(embed_dim, 2 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def _heads(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        return x.view(batch, length, self.num_heads, dim // self.num_heads).transpose(1, 2)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, each (B, H, S, D / H), of x (B, S, D)."""
        key, value = self.key_value(x).chunk(2, dim=-1)
        return self._heads(key), self._heads(value)

    def forward(
        self,
        x: Tensor,
        keys_values: tuple[Tensor, Tensor],
        *,
        causal: bool = False,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return attended values (B, T, D) for queries x (B, T, D). `mask` (T, S) is true where a query may attend."""
        attended = F.scaled_dot_product_attention(
            self._heads(self.query(x)),
            *keys_values,
            attn_mask=mask,
            is_causal=causal,
        )
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, embed_dim: int, mlp_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = nn.Linear(embed_dim, mlp_dim)
        self.down = nn.Linear(mlp_dim, embed_dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.down(self.dropout(F.gelu(self.up(x)))))
        return out


class EncoderBlock(nn.Module):
    """Pre-norm self-attention and a feed-forward network."""

    def __init__(self, embed_dim: int, num_heads: int, mlp_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(embed_dim)
        self.attention = Attention(embed_dim, num_heads)
        self.norm_feed_forward = nn.LayerNorm(embed_dim)
        self.feed_forward = FeedForward(embed_dim, mlp_dim, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        normed = self.norm_attention(x)
        x = x + self.dropout(self.attention(normed, self.attention.keys_values(normed), mask=mask))
        out: Tensor = x + self.feed_forward(self.norm_feed_forward(x))
        return out
