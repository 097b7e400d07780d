"""How many floating-point operations a training example costs."""

from __future__ import annotations

from vitdsi.config import ModelConfig
from vitdsi.ids.trie import Trie

_PASSES = 3  # the backward pass costs twice as much as the forward pass


def flops_per_example(config: ModelConfig, trie: Trie) -> float | None:
    """Floating-point operations of the matrix products of one training example of the single stack on pixels.

    The first layer needs no gradient of its inputs. All recipes that share a model and a trie cost the same per
    example, whatever their batch size, target or schedule. It is None for other architectures.
    """
    if config.paper.architecture != "single_stack" or config.stem != "pixels":
        return None
    patches = (config.paper.image_size // config.paper.patch_size) ** 2
    digits, dim = trie.max_length, config.embed_dim
    project = patches * 3 * config.paper.patch_size**2 * dim
    # For each token that attends: query, output, attention and its sum, feed-forward. For each token: key and value.
    tokens = patches + digits
    for_query = 2 * dim**2 + 2 * tokens * dim + 2 * dim * config.mlp_dim
    for_key = 2 * dim**2
    queries = (config.depth - 1) * tokens + digits  # the last block computes the digits only
    multiplications = project + queries * for_query + config.depth * tokens * for_key
    multiplications += digits * dim * trie.vocabulary.outputs
    return float(2 * (_PASSES * multiplications - project))
