"""Find the pairs of hashes that differ in a few bits, without comparing all with all."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np

BITS = 64
WINDOW = 64  # how many neighbours in one bucket are compared: what keeps a bucket of look-alikes linear


def near_pairs(hashes: np.ndarray, *, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs (M, 2), i < j, of hashes (N,) uint64 up to `distance` bits apart, and how far.

    The bits are cut into distance + 2 bands; two hashes that differ in so few bits agree in two bands at
    least. Sorting by each pair of bands brings them together: N log N, and at most WINDOW comparisons a hash.
    """
    hashes = np.asarray(hashes, dtype=np.uint64)
    keys = np.zeros(0, dtype=np.int64)
    for mask in _masks(distance + 2):
        keys = np.sort(np.concatenate([keys, _in_buckets(hashes, mask, distance)]))
        keys = keys[
            np.diff(keys, prepend=-1) > 0
        ]  # np.unique hashes such numbers, which takes 50 times as long
    pairs = np.stack([keys // max(len(hashes), 1), keys % max(len(hashes), 1)], axis=1)
    return pairs, np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]).astype(np.int64)


def _masks(bands: int) -> list[np.uint64]:
    edges = np.linspace(0, BITS, bands + 1).astype(int)
    parts = [((1 << int(b)) - 1) ^ ((1 << int(a)) - 1) for a, b in pairwise(edges)]
    return [np.uint64(parts[i] | parts[j]) for i, j in combinations(range(bands), 2)]


def _in_buckets(hashes: np.ndarray, mask: np.uint64, distance: int) -> np.ndarray:
    """Return the near pairs among hashes that agree under the mask, each as i · N + j."""
    order = np.lexsort((hashes, hashes & mask))
    keys, sorted_hashes = (hashes & mask)[order], hashes[order]
    at, found = np.arange(len(order)), []
    for step in range(1, WINDOW + 1):
        at = at[at + step < len(order)]
        at = at[keys[at] == keys[at + step]]  # a bucket that ends here ends for all longer steps too
        if not len(at):
            break
        near = at[np.bitwise_count(sorted_hashes[at] ^ sorted_hashes[at + step]) <= distance]
        pair = np.sort(np.stack([order[near], order[near + step]]), axis=0)
        found.append(pair[0] * len(hashes) + pair[1])
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
