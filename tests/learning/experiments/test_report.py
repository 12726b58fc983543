"""`wwfl report`: one page that needs no network, with everything in it, looked at by a real
browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from wwfl.cli.main import app
from wwfl.experiments.config import parse
from wwfl.experiments.report import plots
from wwfl.experiments.report.plots import Series, curves, grouped_bars, layers, megabytes
from wwfl.experiments.run_folder import RunFolder
from wwfl_core.errors import ConfigError, DataError

pytest.importorskip("jinja2", reason="the extra `report` is not installed")
pytest.importorskip("matplotlib", reason="the extra `report` is not installed")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def stage(where: str, name: str, offline: int, online: int) -> dict[str, Any]:
    return {
        "where": where,
        "stage": name,
        "measured_s": 0.5,
        "bytes_offline": offline,
        "bytes_online": online,
        "rounds_offline": 0,
        "rounds_online": 4,
        "modelled_s_offline": 0.0,
        "modelled_s_online": 2.0,
    }


def line(number: int) -> dict[str, Any]:
    stages = [
        stage("2pc-1", "train", 3_000_000, 2_000_000),
        stage("3pc-2", "train", 0, 4_000_000),
        stage("2pc-1 -> global", "reshare", 0, 500_000),
        stage("2pc-1", "upload", 0, 70_000),
    ]
    links = [
        {
            "sender": "2pc-1/0",
            "receiver": "2pc-1/1",
            "bytes_offline": 3_000_000,
            "bytes_online": 6_570_000,
        }
    ]
    return {
        "round": number,
        "accuracy": 0.2 * number,
        "measured_s": 1.5,
        "stages": stages,
        "links": links,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three rounds, of four that were asked for; its name needs escaping."""
    config = parse("[schedule]\nrounds = 4\n[federation]\ninsecure_seed = 1")
    made = RunFolder.create(
        tmp_path / "a&b", config, {"data": {"train": "MNIST-small <train>", "test": "test"}}
    )
    made.begin(0, {})
    made.note(guarantee="semi-honest, 1 corrupt party")
    for number in (1, 2, 3):
        opening = {
            "where": "global",
            "reason": f"hits after round {number}",
            "to": "all",
            "count": 1,
        }
        made.append(line(number), [opening])
    return made.path


def page(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["report", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return Path(re.sub(r"\s", "", result.output).split(".html")[0] + ".html").read_text()


class Outside(HTMLParser):
    """Collects whatever a page would ask somebody for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [
            str(v)
            for k, v in attrs
            if k in ("src", "href", "xlink:href", "srcset") and not str(v).startswith("#")
        ]


def test_the_page_has_accuracy_bytes_ledger_configuration_and_versions(run: Path) -> None:
    text = page(run)
    assert "<title>wwfl: a&amp;b</title>" in text and "MNIST-small &lt;train&gt;" in text
    for words in (
        "60.00 %",
        "3 / 4",
        "28.7 MB",
        "semi-honest, 1 corrupt party",
        "reproducible, not secure",
    ):
        assert words in text, words
    assert text.count("<svg") == 2  # accuracy over rounds, bytes per layer
    assert (
        "hits after round #" in text
        and "2pc-1/0" in text
        and "rounds = 4" in text
        and "torch" in text
    )
    assert re.search(
        r"<td>2pc-1</td><td>train</td><td class=\"n\">9 MB</td><td class=\"n\">6 MB</td>", text
    )


def test_the_page_asks_nobody_for_anything(run: Path) -> None:
    text = page(run)
    outside = Outside(text)
    assert outside.found == [] and not outside.tags & {"script", "link", "img", "iframe"}
    assert "default-src 'none'" in text and "@import" not in text and "url(http" not in text


def test_several_runs_are_compared(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "second")
    shutil.copytree(run, tmp_path / "deep" / "second")
    text = page(
        run, tmp_path / "second", tmp_path / "deep" / "second", "--out", tmp_path / "all.html"
    )
    assert "3 runs" in text and text.count("<svg") == 1 + 3
    assert f">{tmp_path / 'deep' / 'second'}</a>" in text  # two of one name are told apart


def test_what_cannot_be_reported_is_explained(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wwfl.experiments.report.page import report_page as make

    with pytest.raises(DataError, match="no such run folder"):
        make([tmp_path / "none"])
    RunFolder.create(tmp_path / "fresh", parse(""), {"data": {}})
    with pytest.raises(DataError, match="no finished round yet"):
        make([tmp_path / "fresh"])
    result = CliRunner().invoke(app, ["report", str(run), "--out", str(tmp_path / "no" / "x.html")])
    assert result.exit_code == 1 and "there is no folder" in result.output
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install wwfl\[report\]"):
        make([run])


def test_pictures_are_the_same_for_the_same_numbers_and_keep_their_text() -> None:
    series = [
        Series("one & two", [1, 2], [0.5, 0.75], [0.01, 0.02]),
        Series("other", [1, 2], [0.1, 0.2]),
    ]
    text = curves(series, title="a < b")
    assert text == curves(series, title="a < b")
    assert (
        text.startswith("<svg")
        and "one &amp; two" in text
        and "a &lt; b" in text
        and "<image" not in text
    )
    bars = grouped_bars(["x", "y"], {"fedavg": [0.5, 0.6]}, {"fedavg": [0.1, 0.0]})
    assert "fedavg" in bars and bars == grouped_bars(
        ["x", "y"], {"fedavg": [0.5, 0.6]}, {"fedavg": [0.1, 0.0]}
    )


def test_more_series_than_colours_are_told_apart() -> None:
    rules = {f"rule {i}": [0.5] for i in range(len(plots.COLOURS) + 1)}
    for count, hatched in ((len(rules) - 1, False), (len(rules), True)):
        some = dict(list(rules.items())[:count])
        assert ("<pattern" in grouped_bars(["x"], some, some)) is hatched


def test_layers_name_what_was_done_and_sum_over_clusters() -> None:
    assert layers([line(1), line(2)]) == [
        ("clusters train", 6_000_000, 12_000_000),
        ("reshare 2pc-1 -> global", 0, 1_000_000),
        ("clients share their data", 0, 140_000),
    ]


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0"), (512, "0.512 kB"), (1.5e6, "1.5 MB"), (5.28e9, "5.28 GB"), (2.6e13, "26 TB")],
)
def test_bytes_are_written_for_people(nbytes: float, text: str) -> None:
    assert megabytes(nbytes) == text


# ---------------------------------------------------------------------- a real browser


def browse(home: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Chromium on the page, where every name is unknown and the only proxy is a closed port."""
    offline = ("--proxy-server=127.0.0.1:9", "--host-resolver-rules=MAP * ~NOTFOUND")
    quiet = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    )
    command = [str(BROWSER), *quiet, *offline, f"--user-data-dir={home}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
def test_a_browser_without_a_network_shows_the_whole_page(run: Path, tmp_path: Path) -> None:
    page(run)
    dom = browse(tmp_path / "home", run / "report.html", "--dump-dom").stdout
    for words in (
        "accuracy",
        "Bytes per layer",
        "Bytes per link",
        "Everything that was opened",
        "Versions",
    ):
        assert words in dom, words
    shot = tmp_path / "shot.png"
    browse(
        tmp_path / "home", run / "report.html", f"--screenshot={shot}", "--window-size=1100,2600"
    )
    image = (
        pytest.importorskip("PIL.Image", reason="looking at the picture needs Pillow")
        .open(shot)
        .convert("RGB")
    )
    assert image.size == (1100, 2600)
    colours = {colour: count for count, colour in image.getcolors(1 << 24)}
    area = 1100 * 2600
    online, offline = (tuple(bytes.fromhex(c[1:])) for c in (plots.ONLINE, plots.OFFLINE))
    assert colours[(255, 255, 255)] > 0.3 * area  # boxes
    assert (
        colours[(0xF5, 0xF8, 0xF9)] > 0.1 * area
    )  # what is around them: the style sheet is in force
    assert colours[online] > 2000 and colours[offline] > 2000  # the bars of bytes per layer
    # the curve is in the upper half, so that it is seen first
    top = image.crop((0, 0, 1100, 1300))
    assert sum(count for count, colour in top.getcolors(1 << 24) if colour == online) > 500
