"""Tables of vectors, of which a step of training or a search reads a few: as floats, or as codes of a few bytes.

Codes are those of a product quantizer (Jégou et al., "Product quantization for nearest neighbor search", 2011): a
vector of E numbers is divided into B parts, and each part is stored as the number of the nearest of 256 centres. Part b
has the numbers b, b + B, b + 2 B, ... of the vector, so that all parts have a share of the large first axes and of the
small last ones.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitdsi.errors import ConfigError

__all__ = ["CENTRES", "Centres", "CodedRows", "FloatRows", "Places", "Rows", "learn_centres"]

Places: TypeAlias = "Tensor | slice"
"""The numbers of rows (n,), or a range of them."""

CENTRES = 256  # of each part of a vector, so that its number is one byte
SPARSE_FROM = 2**15  # rows; the gradients of larger tables have the rows that were read, and no others

_LEARNED_FROM = 2**15  # vectors, at most
_ITERATIONS = 15  # of k-means
_ENCODED_AT_ONCE = 1024


class Rows(nn.Module):
    """A table of n vectors of E numbers."""

    @property
    def trained(self) -> bool:
        """Whether training changes the vectors."""
        return False

    def take(self, numbers: Tensor) -> Tensor:
        """Return the vectors (*S, E) of rows `numbers`, of any shape S."""
        raise NotImplementedError

    def between(self, first: int, last: int) -> Tensor:
        """Return the vectors of the rows from `first` to `last` - 1, without a copy where that is possible."""
        return self.take(torch.arange(first, last))

    def products(self, queries: Tensor, numbers: Tensor) -> Tensor:
        """Return the inner products (d, G, W) of queries (d, G, E) with the vectors of rows `numbers` (d, W)."""
        return queries @ self.take(numbers).mT

    def cosines(self, queries: Tensor, numbers: Tensor) -> Tensor:
        """Return the cosines (R, n) of queries (R, D) with the first D numbers of the vectors of `numbers` (n,)."""
        vectors = self.take(numbers)[:, : queries.shape[1]]
        return F.normalize(queries, dim=1) @ F.normalize(vectors, dim=1).T

    def put(self, numbers: Tensor, vectors: Tensor) -> None:
        """Replace the vectors of rows `numbers` (n,) by `vectors` (n, E), as nearly as the table can hold them."""
        raise NotImplementedError

    def move(self, source: Rows, numbers: Places, origin: Places) -> None:
        """Replace rows `numbers`, n of them, by rows `origin` of a table of the same kind."""
        raise NotImplementedError


class FloatRows(Rows):
    """A table of trainable vectors.

    The gradient of a large table is sparse, so that a step of training touches the rows of its batch alone, whatever
    the size of the table (see `vitdsi.training.optimizers`).

    Attributes:
        weight: (n, E).
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, width) * width**-0.5)

    @property
    def trained(self) -> bool:
        return self.weight.requires_grad

    @property
    def sparse(self) -> bool:
        """Whether the table is so large that its gradient is sparse."""
        return len(self.weight) >= SPARSE_FROM

    def take(self, numbers: Tensor) -> Tensor:
        return F.embedding(numbers, self.weight, sparse=self.sparse)

    def between(self, first: int, last: int) -> Tensor:
        return self.weight[first:last]

    def put(self, numbers: Tensor, vectors: Tensor) -> None:
        self.weight[numbers] = vectors.to(self.weight)

    def move(self, source: Rows, numbers: Places, origin: Places) -> None:
        assert isinstance(source, FloatRows)
        self.weight[numbers] = source.weight[origin].to(self.weight)


class Centres(nn.Module):
    """The centres of a product quantizer, which several tables share.

    Args:
        width: the numbers of a vector, E.
        row_bytes: the parts of a vector, B, a divisor of E.

    Attributes:
        values: (B, 256, E / B).

    Raises:
        ConfigError: E is not a multiple of B.
    """

    def __init__(self, width: int, row_bytes: int) -> None:
        super().__init__()
        if width % row_bytes:
            raise ConfigError(
                f"vector_bytes is {row_bytes}, which does not divide the width of the vectors, {width}; choose for"
                f" example {largest_divisor(width, row_bytes)}"
            )
        self.values = nn.Parameter(torch.zeros(row_bytes, CENTRES, width // row_bytes))


class CodedRows(Rows):
    """A table of vectors with B bytes for each of them. Training changes the centres, but no codes.

    Args:
        count: n.
        centres: the centres of its quantizer.
        cached: keep the decoded vectors in memory after their first use in evaluation mode, for small tables that every
            search reads.

    Attributes:
        codes: (n, B) uint8.
    """

    codes: Tensor

    def __init__(self, count: int, centres: Centres, *, cached: bool = False) -> None:
        super().__init__()
        self._shared = (centres,)  # in a tuple, because they are no part of this table
        self._cached, self._vectors = cached, torch.empty(0)
        # NumPy's zeros take no time and no memory until they are written, and loaded codes replace them.
        self.register_buffer("codes", torch.from_numpy(np.zeros((count, len(centres.values)), np.uint8)))

    def train(self, mode: bool = True) -> CodedRows:
        self._vectors = torch.empty(0)
        return super().train(mode)

    def take(self, numbers: Tensor) -> Tensor:
        if self._cached and not self.training:
            return F.embedding(numbers, self._all())
        return self._decoded(numbers)

    def between(self, first: int, last: int) -> Tensor:
        if self._cached and not self.training:
            return self._all()[first:last]
        return self._decoded(torch.arange(first, last, device=self.codes.device))

    def products(self, queries: Tensor, numbers: Tensor) -> Tensor:
        nodes, group, width = queries.shape
        divided = queries.view(nodes, group, -1, self.codes.shape[1]).mT.reshape(nodes, group, width)
        return divided @ self._part_by_part(numbers).flatten(2).mT

    def cosines(self, queries: Tensor, numbers: Tensor) -> Tensor:
        """Look up the sums of the products and of the squares of the parts, without decoding any vector."""
        values = self._shared[0].values
        parts, _, each = values.shape
        width = queries.shape[1]
        padded = F.pad(F.normalize(queries, dim=1), (0, parts * each - width))
        divided = padded.view(-1, each, parts).permute(2, 1, 0)
        used = (
            (torch.arange(parts * each, device=values.device) < width).view(each, parts, 1).permute(1, 2, 0)
        )
        table = torch.cat([values @ divided, (values.square() * used).sum(2, keepdim=True)], dim=2)
        first = torch.arange(parts, device=numbers.device, dtype=torch.int32) * CENTRES
        sums = F.embedding_bag(self.codes[numbers].int() + first, table.flatten(0, 1), mode="sum")
        return (sums[:, :-1] / sums[:, -1:].clamp(min=1e-24).sqrt()).T

    def _all(self) -> Tensor:
        vectors = self._vectors
        if len(vectors) != len(self.codes) or vectors.device != self.codes.device:
            vectors = self._vectors = self._decoded(torch.arange(len(self.codes), device=self.codes.device))
        return vectors

    def _decoded(self, numbers: Tensor) -> Tensor:
        return self._part_by_part(numbers).mT.flatten(-2)

    def _part_by_part(self, numbers: Tensor) -> Tensor:
        """Return the parts (*S, B, E / B) of the vectors of rows `numbers`, of any shape S."""
        values = self._shared[0].values
        first = torch.arange(len(values), device=numbers.device, dtype=torch.int32) * CENTRES
        places, table = self.codes[numbers] + first, values.flatten(0, 1)
        if torch.is_grad_enabled() or table.device.type != "cpu":
            return F.embedding(places, table)
        return torch.from_numpy(table.numpy().take(places.numpy(), axis=0))  # twice as fast for short rows

    def put(self, numbers: Tensor, vectors: Tensor) -> None:
        self._vectors = torch.empty(0)
        values = self._shared[0].values
        parts, _, width = values.shape
        if len(vectors) <= _ENCODED_AT_ONCE:  # FAISS is quicker, but takes longer to import
            divided = vectors.to(values).view(-1, width, parts).permute(2, 0, 1)
            self.codes[numbers] = torch.cdist(divided, values).argmin(2).T.byte()
            return
        quantizer = _quantizer(values)
        for some, place in zip(
            torch.split(vectors, _ENCODED_AT_ONCE), torch.split(numbers, _ENCODED_AT_ONCE), strict=True
        ):
            divided = some.detach().cpu().float().view(-1, width, parts).mT.flatten(1)
            self.codes[place] = torch.from_numpy(quantizer.compute_codes(divided.numpy())).to(self.codes)

    def move(self, source: Rows, numbers: Places, origin: Places) -> None:
        """Replace rows by those of a table with the same centres."""
        assert isinstance(source, CodedRows)
        self._vectors = torch.empty(0)
        self.codes[numbers] = source.codes[origin].to(self.codes.device)


def _quantizer(centres: Tensor) -> Any:
    """Return the product quantizer of FAISS with centres (B, 256, E / B)."""
    import faiss

    parts, _, width = centres.shape
    quantizer = faiss.ProductQuantizer(parts * width, parts, 8)
    faiss.copy_array_to_vector(centres.detach().cpu().float().numpy().ravel(), quantizer.centroids)
    return quantizer


def learn_centres(vectors: Tensor, row_bytes: int, seed: int) -> Tensor:
    """Return centres (B, 256, E / B) for vectors (n, E), learned by k-means from at most 32,768 of them.

    At most 256 vectors are centres themselves, so that their codes lose nothing.
    """
    width = vectors.shape[1] // row_bytes
    sample = vectors[
        torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed))[:_LEARNED_FROM]
    ]
    parts = sample.view(-1, width, row_bytes).permute(2, 0, 1).contiguous()
    if len(sample) <= CENTRES:
        return F.pad(parts, (0, 0, 0, CENTRES - len(sample)))
    import faiss

    threads = faiss.omp_get_max_threads()
    quantizer = faiss.ProductQuantizer(vectors.shape[1], row_bytes, 8)
    quantizer.cp.niter, quantizer.cp.seed, quantizer.cp.min_points_per_centroid = _ITERATIONS, seed + 1, 1
    faiss.omp_set_num_threads(1)  # Its threads would compete with those of torch.
    try:
        quantizer.train(parts.transpose(0, 1).flatten(1).numpy())
    finally:
        faiss.omp_set_num_threads(threads)
    centres = faiss.vector_to_array(quantizer.centroids)
    return torch.from_numpy(centres.reshape(row_bytes, CENTRES, width).copy())


def largest_divisor(width: int, most: int) -> int:
    """Return the largest divisor of `width` that is at most `most`."""
    return max(number for number in range(1, most + 1) if width % number == 0)
