"""What two token lists have in common: their first tokens, and the int objects of these."""

from __future__ import annotations

import operator
from collections.abc import Sequence

# Python keeps one object for each int up to this one, whatever lists it is in.
SHARED_INTS = 256


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix, by halving: slices are compared at C speed."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def shares_objects(a: list[int], b: list[int], length: int) -> bool:
    """Whether the first `length` tokens are the very same int objects, as `list.copy()` leaves them.

    Tells a branch's parent from a trajectory that reads the same by chance; of SHARED_INTS it says nothing.
    """
    return all(map(operator.is_, a[:length], b[:length]))
