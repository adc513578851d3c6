"""Figures as SVG in a page: in the page's own colours, so that they read in light and dark mode."""

from __future__ import annotations

import io
import re

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from era_cli.reports import style

# The colours that figures are drawn in, and the variables of the page's stylesheet that take their place.
_VARIABLES = {
    style.INK: "--ink",
    style.FAINT: "--faint",
    style.GRID: "--grid",
    style.BLUE: "--blue",
    style.ORANGE: "--orange",
    style.YELLOW: "--yellow",
    style.SKY: "--sky",
    "#ffffff": "--paper",
}


def svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an inline <svg>; `name` keeps its ids apart from those of the page's other figures.

    Text is text in the page's font. What is the figure's own of no use to a page is left out: its metadata, its
    stylesheet, which would apply to the whole page, and ids that nothing refers to.

    Args:
        description: what it shows, for a screen reader.
    """
    drawn = io.StringIO()
    with style.look(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    _, _, content = drawn.getvalue().partition("<svg")
    attributes, _, content = content.partition(">")
    view = re.search(r'viewBox="[^"]*"', attributes)
    assert view is not None  # matplotlib always writes it
    content = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", content, flags=re.DOTALL)
    content = re.sub(r'<g id="[^"]*"', "<g", content)
    content = re.sub(r"font-family: [^;\"]*;? ?", "", content)
    for colour, variable in _VARIABLES.items():
        content = re.sub(f'{colour}(?=[;"])', f"var({variable})", content, flags=re.IGNORECASE)
    content = re.sub(r"\s*\n\s*", "\n", content)
    label = Markup('role="img" aria-label="{}"').format(description)
    return Markup(f'<svg class="figure" {view[0]} xmlns:xlink="http://www.w3.org/1999/xlink" {label}>{content}')
