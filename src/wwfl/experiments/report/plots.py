"""Pictures as SVG text: no global state, no files unless asked, the same bytes for the same
numbers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wwfl.federation.accounting import STAGE_KEYS, total
from wwfl_core.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0b6e99", "#d1603d", "#3a7d44", "#7b4b94", "#b8860b", "#5c6b73", "#c2185b", "#00897b")
OFFLINE, ONLINE = "#a9c7d6", "#0b6e99"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, and it can be searched
    "svg.hashsalt": "wwfl",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a959b",
    "axes.labelcolor": "#37424a",
    "xtick.color": "#5c6b73",
    "ytick.color": "#5c6b73",
    "axes.grid": True,
    "grid.color": "#e4e9ec",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Series:
    """A curve: y over x; `spread` is one standard deviation over `seeds` repetitions (None for a
    single run)."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] | None = None


def plots_available() -> bool:
    """Whether pictures can be made here."""
    return find_spec("matplotlib") is not None


def require_package(package: str) -> None:
    """Raises ConfigError, with the command that helps, if a package of the extra is absent."""
    if find_spec(package) is None:
        raise ConfigError(
            f"reports need {package}, which is not installed: `pip install wwfl[report]`"
        )


def curves(
    series: Sequence[Series], *, title: str = "", y: str = "test accuracy, %", x: str = "round"
) -> str:
    """Accuracy over rounds, one line per series, shaded by one standard deviation. y and spread are
    in 0..1."""

    def draw(axes: Axes) -> None:
        for colour, one in zip(_colours(len(series)), series, strict=True):
            ys = [100 * v for v in one.y]
            marker = "o" if len(ys) <= 20 else None
            axes.plot(
                one.x,
                ys,
                color=colour,
                label=one.label,
                marker=marker,
                markersize=3.5,
                linewidth=1.8,
            )
            if one.spread is not None:
                low = [a - 100 * b for a, b in zip(ys, one.spread, strict=True)]
                high = [a + 100 * b for a, b in zip(ys, one.spread, strict=True)]
                axes.fill_between(one.x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel=x, ylabel=y, title=title)
        axes.locator_params(axis="x", integer=True)
        if len(series) > 1 or series[0].label:
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.17),
                ncols=min(3, len(series)),
                fontsize=9,
            )

    return _svg(draw, (8.4, 3.2 + 0.25 * (len(series) > 1) * -(-len(series) // 3)))


def grouped_bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float]],
    spread: Mapping[str, Sequence[float]],
    *,
    title: str = "",
    y: str = "test accuracy, %",
) -> str:
    """One group of bars per entry of `groups`, one bar per series, with error bars of one standard
    deviation."""

    def draw(axes: Axes) -> None:
        width = 0.8 / len(series)
        for i, (colour, (label, values)) in enumerate(
            zip(_colours(len(series)), series.items(), strict=True)
        ):
            at = [g + (i - (len(series) - 1) / 2) * width for g in range(len(groups))]
            heights, errors = [100 * v for v in values], [100 * v for v in spread[label]]
            again = "//" * (i // len(COLOURS))  # a colour that comes again is hatched
            axes.bar(
                at,
                heights,
                width * 0.92,
                color=colour,
                label=label,
                hatch=again,
                edgecolor="white",
                linewidth=0,
            )
            axes.errorbar(
                at, heights, errors, fmt="none", ecolor="#20292f", elinewidth=1, capsize=2.5
            )
        axes.set_xticks(range(len(groups)), groups)
        axes.set(ylabel=y, title=title)
        axes.grid(visible=False, axis="x")
        below = -0.07 - 0.06 * lines  # the legend goes under the names of the groups
        axes.legend(
            ncols=min(4, len(series)), fontsize=9, loc="upper center", bbox_to_anchor=(0.5, below)
        )

    lines = max(name.count("\n") for name in groups) + 1
    return _svg(draw, (max(8.4, 1.1 * len(groups)), 3.8 + 0.2 * lines))


def traffic(rows: Sequence[tuple[str, int, int]]) -> str:
    """Horizontal bars of (label, bytes offline, bytes online)."""

    def draw(axes: Axes) -> None:
        labels = [label for label, _, _ in rows][::-1]
        offline = [before / 1e6 for _, before, _ in rows][::-1]
        online = [after / 1e6 for _, _, after in rows][::-1]
        axes.barh(labels, offline, color=OFFLINE, label="offline")
        axes.barh(labels, online, left=offline, color=ONLINE, label="online")
        for i, (a, b) in enumerate(zip(offline, online, strict=True)):
            axes.annotate(
                megabytes((a + b) * 1e6),
                (a + b, i),
                (4, 0),
                textcoords="offset points",
                va="center",
                size=9,
            )
        axes.set_xlabel("MB")
        axes.margins(x=0.14)
        axes.grid(visible=False, axis="y")
        axes.legend(loc="lower right", fontsize=9)

    return _svg(draw, (8.4, 0.9 + 0.28 * max(2, len(rows))))


def megabytes(nbytes: float) -> str:
    """Bytes for people: 0, 12.3 kB, 4.56 MB, 7.89 GB."""
    if not nbytes:
        return "0"
    for limit, unit, size in ((1e6, "kB", 1e3), (1e9, "MB", 1e6), (1e12, "GB", 1e9)):
        if nbytes < limit:
            return f"{nbytes / size:.3g} {unit}"
    return f"{nbytes / 1e12:.3g} TB"


def accuracy_of(metrics: Sequence[Mapping[str, Any]], label: str = "") -> Series | None:
    """The curve of a run's metrics; None if it never measured its accuracy."""
    known = [line for line in metrics if line["accuracy"] is not None]
    if not known:
        return None
    return Series(label, [line["round"] for line in known], [line["accuracy"] for line in known])


LAYERS = {
    "upload": "clients share their data",
    "sample": "clusters sample clients",
    "train": "clusters train",
    "aggregate": "servers aggregate",
    "evaluate": "servers classify the test set",
    "predict": "private inference",
}


def layers(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Bytes of a run per layer: (what, offline, online); conversions between layers are named by
    their ends."""
    found: dict[str, list[int]] = {}
    for row in total([row for line in metrics for row in line["stages"]], STAGE_KEYS):
        label = (
            f"reshare {row['where']}"
            if row["stage"] == "reshare"
            else LAYERS.get(row["stage"], str(row["stage"]))
        )
        entry = found.setdefault(label, [0, 0])
        entry[0] += row["bytes_offline"]
        entry[1] += row["bytes_online"]
    return sorted(
        ((label, off, on) for label, (off, on) in found.items()), key=lambda r: -(r[1] + r[2])
    )


def write_plots(metrics: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """The pictures of a run as files."""
    folder.mkdir(exist_ok=True)
    made: dict[str, str] = {}
    if (series := accuracy_of(metrics)) is not None:
        made["accuracy.svg"] = curves([series])
    if rows := layers(metrics):
        made["bytes.svg"] = traffic(rows)
    for name, text in made.items():
        (folder / name).write_text(text)
    return [folder / name for name in made]


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _svg(draw: Any, size: tuple[float, float]) -> str:
    """What `draw(axes)` paints, as an <svg> element that scales with its container."""
    require_package("matplotlib")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        text = _saved(figure)
    return text[text.index("<svg") :]


def _saved(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return out.getvalue()
