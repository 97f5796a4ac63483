"""How far quantised values may lie from what they were."""

import numpy as np


def half_step(ends, bits):
    """The largest distance of a value inside the range from its decoded one, float64 ``(C,)``.

    Half a step, and the rounding of the decoded value to float32: half of its last place, and
    as much again for float64's own roundings, which are far smaller.
    """
    lo, hi = (end.double().numpy() for end in ends)
    largest = np.maximum(np.abs(lo), np.abs(hi))
    return (hi - lo) / (2**bits - 1) / 2 + largest * 2.0**-23 + 2.0**-149
