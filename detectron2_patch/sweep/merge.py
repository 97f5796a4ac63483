"""The merge of the levels' proposals, for many settings at once.

Each (level, treatment) has one list of proposals by falling logit. A setting takes one list a
level, merges the five, ties by level, then by rank, and keeps the best ``topk``. That order of two
proposals is the same in every setting that has both. So there is one order of all proposals, and a
setting takes from each of its lists a prefix: a merge is no more than five lengths.
"""

from __future__ import annotations

import numpy as np


def common_order(logits: np.ndarray) -> np.ndarray:
    """Indices ``(T,)`` by falling logit; ties stay as they lie: by level, then by rank."""
    return np.argsort(-logits, kind="stable")


def prefix_lengths(
    list_of: np.ndarray, list_count: int, choices: np.ndarray, topk: int
) -> np.ndarray:
    """How many proposals each merge takes from each of its lists.

    Args:
        list_of: ``(T,)``, the list of each proposal, in ``common_order``.
        list_count: number of lists.
        choices: ``(M, 5)``, the lists that each merge takes.
        topk: how many proposals a merge keeps.

    Returns:
        ``(M, 5)``; each row sums to ``topk``, or to all there are.
    """
    seen = np.zeros((list_count, len(list_of) + 1), dtype=np.int32)
    np.cumsum(list_of == np.arange(list_count)[:, None], axis=1, out=seen[:, 1:])
    low = np.zeros(len(choices), dtype=np.int64)  # of the common order, a merge looks this far
    high = np.full(len(choices), len(list_of))
    while (low < high).any():
        middle = (low + high + 1) // 2
        fits = seen[choices, middle[:, None]].sum(axis=1) <= topk
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    return seen[choices, low[:, None]]
