"""What a figure is for: its size and the sizes of its text. Imports no plotting library."""

from __future__ import annotations

from typing import NamedTuple


class Medium(NamedTuple):
    """`width` and `height` in inches, sizes of text in points, `dpi` of a saved PNG.

    On a page, as of a paper or a slide, all figures have this width, and title and caption are not in the picture.
    """

    width: float
    height: float
    text: float
    legend: float
    small: float
    dpi: float


SCREEN = Medium(7.0, 4.8, text=10, legend=9, small=8.5, dpi=200)
# A column of a paper is 3.25 to 3.5 inches wide.
MEDIA = {
    "paper": Medium(3.3, 2.4, text=8, legend=7, small=7, dpi=300),
    "slide": Medium(10.0, 5.6, text=16, legend=14, small=14, dpi=192),
    "screen": SCREEN,
}
