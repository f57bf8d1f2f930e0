"""Leaves out what cannot be used, if that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from arpo_entropy_recorder.errors import UserError

Item = TypeVar("Item")
Found = TypeVar("Found")

Skip = Callable[[UserError], object]
"""Is called with the error of what is left out."""


def usable(items: Iterable[Item], read: Callable[[Item], Found], skip: Skip | None) -> Iterator[Found]:
    """What `read` makes of each item. `skip` takes the UserError of an item, which is then left out.

    Without `skip`, the first such error is raised.
    """
    for item in items:
        try:
            found = read(item)
        except UserError as error:
            if skip is None:
                raise
            skip(error)
        else:
            yield found
