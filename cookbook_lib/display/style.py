"""One calm visual style for every figure, table and bar: a palette, type, spacing, and nothing that stays behind.

Figures are drawn on white, with colour only where there is something to say:

    BLUE training   AMBER validation   GREEN good, best   RED bad, refused   VIOLET, TEAL further series   GREY context

HTML must read on light and on dark pages, so it inherits the page's ink and tints with translucent colours (`tint`);
styles are inline because notebook viewers drop `<style>` elements from pages that they do not trust.
"""

BLUE, AMBER, GREEN, RED, VIOLET, TEAL = "#3f6fb0", "#d98a2b", "#3f9a6c", "#c9534f", "#7f6cb5", "#3b9aa5"
INK, GREY, RULE, PAPER = "#2c3542", "#8a94a3", "#e4e8ee", "#ffffff"
MID_BLUE, LIGHT_BLUE = "#7ba1d0", "#b3cbe6"  # the same blue, for neighbours and for what is not the point
TONES = {"good": GREEN, "bad": RED, "note": AMBER, "key": BLUE}

SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace"
HAIRLINE = "1px solid rgba(128,138,152,.28)"

# Handed to matplotlib.rc_context while a picture is drawn (views.py), so the reader's own settings are left alone.
FIGURE_SETTINGS: dict[str, object] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same picture on every machine
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": GREY,
    "axes.labelsize": 8,
    "axes.edgecolor": RULE,
    "axes.facecolor": PAPER,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.7,
    "figure.constrained_layout.h_pad": 0.09,
    "figure.constrained_layout.w_pad": 0.09,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


def tint(colour: str, alpha: float) -> str:
    """`#rrggbb` as a translucent CSS colour, which lies as well on a dark page as on a light one."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"
