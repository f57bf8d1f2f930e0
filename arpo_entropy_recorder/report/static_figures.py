"""The figures that the report shows without a script, and on paper: drawn once, as pictures in the page."""

from __future__ import annotations

from io import BytesIO
from xml.etree.ElementTree import Element

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from arpo_entropy_recorder.analysis.analysis import Analysis
from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.figures.catalogue import FIGURES, FigureSpec, draw
from arpo_entropy_recorder.figures.style import rc_of, take_words
from arpo_entropy_recorder.figures.words import Words
from arpo_entropy_recorder.report.markup import image, tag

# Of a picture: pixels an inch, and colours, which are as many as a palette of single bytes holds.
DPI = 120
COLOURS = 256
CSS_INCH = 96  # pixels
HALF_ROW = 8.5  # inches: the words in a wider figure would be too small in half of a row


def figures(analysis: Analysis, index: int, name: str, words: Words) -> Element:
    """The figures of the run that is `index`-th on the page."""
    shown, lacking = [], []
    for spec in FIGURES.values():
        if len(analysis.rounds.steps) < spec.min_steps:
            lacking.append(words("{figure}: one step only", figure=words(spec.heading)))
            continue
        if (
            "branching" in spec.parts
            and analysis.branching.branched
            and not analysis.branching.is_branched.any()
        ):
            lacking.append(words("{figure}: no trajectory is a branch", figure=words(spec.heading)))
            continue
        try:
            figure = draw(spec.name, analysis, words)
        except UserError as error:
            lacking.append(words("{figure}: {error}", figure=words(spec.heading), error=error))
        else:
            shown.append(_figure(spec, figure, index, words))
    notes = tag("ul", [tag("li", line) for line in lacking], class_="note") if lacking else None
    return tag(
        "section",
        tag("h2", words("Figures") + name),
        tag("div", shown, class_="figures"),
        tag("p", words("Not drawn:"), class_="note") if lacking else None,
        notes,
        id=f"figures-{index}",
    )


def _figure(spec: FigureSpec, figure: Figure, index: int, words: Words) -> Element:
    """The picture with its words as text around it; a link's target is shown in full size by the style sheet."""
    heading, full = words(spec.heading), words("Full size")
    caption = take_words(figure)
    width, height = figure.get_size_inches()
    alt = words("{alt} The numbers are in the tables below.", alt=words(spec.alt))
    larger, whole = f"#figure-{spec.name}-{index}", f"#figures-{index}"
    return tag(
        "figure",
        tag("h3", heading),
        tag("div", _picture(figure, alt), class_="picture"),
        tag(
            "figcaption",
            f"{caption} ",
            tag("a", full, href=larger, class_="larger", aria_label=f"{full}: {heading}"),
            tag("a", words("Fit to the page"), href=whole, class_="smaller"),
        ),
        id=larger.removeprefix("#"),
        class_="wide" if width > HALF_ROW else "tall" if height > width else "half",
    )


def _picture(figure: Figure, alt: str) -> Element:
    """The figure as a PNG with a palette, which takes half of the bytes that it takes without one."""
    with rc_context(rc_of()):
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    data = BytesIO()
    pixels.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(data, "PNG")
    return image(data.getvalue(), "image/png", alt, round(figure.get_figwidth() * CSS_INCH))
