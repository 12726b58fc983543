"""Draws the diagrams of docs/explanation: `python tools/diagrams.py` (`make diagrams`).

They are committed as SVG, so that no page needs a script to show them; a test compares. Text that
explains a diagram belongs on the page, not into the picture.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "docs" / "explanation"

INK, SOFT = "#223", "#667"
FILLS = {
    "blue": "#dce8fb",
    "green": "#dff2e1",
    "sand": "#f7eedb",
    "rose": "#f9e1e3",
    "grey": "#eceef2",
}


class Picture:
    """An SVG that grows; all lengths in pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif" font-size="14">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
            f'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="{INK}"/>'
            "</marker></defs>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
        ]

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: int = 14,
        colour: str = INK,
        anchor: str = "middle",
        bold: bool = False,
    ) -> None:
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size}" '
            f'text-anchor="{anchor}"{weight}>{escape(words)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, fill: str, *lines: str) -> None:
        """A box with its first line in bold, the others small below it."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" '
            f'fill="{FILLS[fill]}" stroke="{SOFT}"/>'
        )
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        for number, words in enumerate(lines):
            self.text(
                x + width / 2, top + 18 * number, words, size=12 if number else 14, bold=not number
            )

    def arrow(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        words: str = "",
        *,
        dashed: bool = False,
        dy: float = -6,
    ) -> None:
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{INK}" '
            f'stroke-width="1.4" marker-end="url(#tip)"{dash}/>'
        )
        if words:
            self.text((x1 + x2) / 2, (y1 + y2) / 2 + dy, words, size=12)

    def line(self, x1: float, y1: float, x2: float, y2: float) -> None:
        self._parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{SOFT}" '
            'stroke-dasharray="2 4"/>'
        )

    def svg(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])


def layers() -> str:
    """Who may import whom: a box stands on what it may use."""
    p = Picture(720, 330, "The four import roots and the floors inside them; imports point down")
    p.box(
        20,
        20,
        680,
        92,
        "blue",
        "wwfl",
        "cli  /  experiments, reproduce  /  federation",
        "aggregation, attacks, privacy  /  nn, data",
    )
    p.box(20, 130, 330, 56, "green", "backends", "one protocol, one file")
    p.box(370, 130, 330, 56, "sand", "reshare", "any sharing to any other")
    p.box(
        20,
        204,
        680,
        108,
        "grey",
        "wwfl_core",
        "testing  /  cluster, recording  /  tensors  /  protocol",
        "party  /  channel, accelerate  /  sharing, randomness  /  kernels, numbers",
        "errors, files, plugins",
    )
    for x in (185, 535):
        p.arrow(x, 112, x, 128)
        p.arrow(x, 186, x, 202)
    return p.svg()


def product() -> str:
    """One product in replicated 3PC."""
    p = Picture(720, 348, "One product in replicated 3PC: three messages, one round")
    places = [120, 360, 600]
    for i, x in enumerate(places):
        j = (i + 1) % 3
        p.box(x - 100, 16, 200, 52, "green", f"party {i}", f"has x{i}, x{j} and y{i}, y{j}")
        p.line(x, 68, x, 280)
        p.box(
            x - 112,
            90,
            224,
            82,
            "grey",
            f"computes z{i}",
            f"= x{i} y{i} + x{i} y{j} + x{j} y{i} + a{i} - a{j}",
            f"(a{i}, a{j}: masks of shared keys,",
            "drawn without a message)",
        )
        p.box(x - 100, 284, 200, 48, "green", f"party {i}", f"has z{i} and z{j}")
    p.arrow(places[1], 198, places[0] + 4, 198, "z1")
    p.arrow(places[2], 224, places[1] + 4, 224, "z2")
    p.arrow(places[0], 256, places[2] - 4, 256)
    p.text(240, 250, "z0", size=12)
    return p.svg()


def round_of_training() -> str:
    """One round of a federation."""
    p = Picture(720, 400, "One round: clients share data, clusters train, servers aggregate")
    names = [
        ("clients", "sand"),
        ("cluster (3PC)", "green"),
        ("cluster (4PC)", "green"),
        ("global servers", "blue"),
    ]
    places = [90, 270, 450, 630]
    for x, (name, fill) in zip(places, names, strict=True):
        p.box(x - 75, 12, 150, 34, fill, name)
        p.line(x, 46, x, 392)
    p.arrow(places[0], 84, places[1] - 4, 84, "shares of data, once")
    p.arrow(places[0], 112, places[2] - 4, 112, "shares of data, once")
    p.arrow(places[3], 148, places[2] + 4, 148, "reshare: model")
    p.arrow(places[3], 176, places[1] + 4, 176, "reshare: model")
    for x in places[1:3]:
        p.box(x - 65, 194, 130, 40, "grey", "train", "on shares")
    p.arrow(places[1], 262, places[3] - 4, 262, "reshare: trained model")
    p.arrow(places[2], 290, places[3] - 4, 290, "reshare: trained model")
    p.box(places[3] - 70, 304, 140, 40, "grey", "aggregate", "on shares")
    p.box(places[3] - 70, 350, 140, 40, "rose", "evaluate", "opens one number")
    return p.svg()


def conversion() -> str:
    """One word of a value travels from one cluster to another."""
    p = Picture(720, 330, "A conversion: every source word is dealt to the target, masked")
    p.box(20, 16, 250, 52, "green", "source, replicated 3PC", "x = w0 + w1 + w2")
    p.box(450, 16, 250, 52, "blue", "target, 2PC", "x = t0 + t1")

    p.box(450, 92, 250, 52, "grey", "party 0: t0 = r0 + r1 + r2", "draws them; no message")
    p.box(450, 164, 250, 148, "grey", "party 1: t1", "= the sum of what came")
    for number in range(3):
        y = 164 + 50 * number
        p.box(
            20, y, 250, 46, "grey", f"a party that knows w{number}", f"draws r{number} with party 0"
        )
        p.arrow(270, y + 23, 448, y + 23, f"w{number} - r{number}")
    return p.svg()


PICTURES = {
    "layers": layers,
    "product": product,
    "round": round_of_training,
    "conversion": conversion,
}


def main() -> None:
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")
        print(f"docs/explanation/{name}.svg")


if __name__ == "__main__":
    main()
