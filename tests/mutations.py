"""Streams as they arrive when they aren't those that were sent."""

import random

from detectron2_patch.errors import InputError

MUTATIONS = 1000


def mutated(data, random, other=b""):
    """One of the ways in which a stream arrives that isn't the one that was sent."""
    way, at = random.randrange(6), random.randrange(len(data))
    if way == 0:
        return data[:at]
    if way == 1:
        return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
    if way == 2:
        return data[:at] + random.randbytes(random.randrange(1, 9)) + data[at:]
    if way == 3:
        end = min(len(data), at + random.randrange(1, 9))
        return data[:at] + random.randbytes(end - at) + data[end:]
    if way == 4:
        return data[:at] + other[at:]
    return data[at:] + data[:at]


def check(read, data, other, wanted):
    """``wanted`` is what may be read: what was sent or, whole, what the other was."""
    random_ = random.Random(0)
    refused = 0
    for _ in range(MUTATIONS):
        changed = mutated(data, random_, other)
        try:
            found = read(changed)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert found in wanted, "silent garbage"
    assert refused > 0.9 * MUTATIONS
