"""Rows of several columns as numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def number_rows(columns: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Number the rows of `columns`, int64[n] each: equal rows alike, from 0 on in the order of their values.

    Returns the index of each number's first row, and each row's number, int64[n]. `np.unique` of rows does the same
    in ten times the time.
    """
    key: np.ndarray | int = 0
    for column in columns:
        values, code = np.unique(column, return_inverse=True)
        key = key * len(values) + code
    _, first, number = np.unique(key, return_index=True, return_inverse=True)
    return first, number
