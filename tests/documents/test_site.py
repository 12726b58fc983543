"""The site is whole: links lead somewhere, all code of all pages runs, every public name has its
entry in the reference, diagrams and gallery are those that their scripts make."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from helpers import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tools"))
import diagrams
import gallery
import reference_pages

DOCS = REPOSITORY / "docs"
PAGES = sorted(p.relative_to(REPOSITORY).as_posix() for p in DOCS.rglob("*.md"))
MORE = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]

# Pages whose code other tests run, each together with what it says about that code; the gallery's
# scripts are run by `make gallery`.
ELSEWHERE = {
    "docs/tutorial/first-protocol.md": "test_tutorial.py",
    "docs/how-to/aggregation.md": "test_aggregation_docs.py",
    "docs/how-to/attacks.md": "test_docs_data.py",
    "docs/how-to/data.md": "test_docs_data.py",
    "docs/how-to/models.md": "test_docs.py",
    "README.md": "test_docs.py",
}


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[tuple[int, str]]:
    """(line number of its first line, code) of every Python block of a page."""
    text = text_of(page)
    found = re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text[: m.start(1)].count("\n") + 1, m[1]) for m in found]


RUN_HERE = [
    page
    for page in [*PAGES, *MORE]
    if page not in ELSEWHERE and not page.startswith("docs/gallery/") and blocks(page)
]


@pytest.mark.parametrize("page", RUN_HERE)
def test_the_code_of_a_page_runs_from_top_to_bottom(
    page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # dataclasses look their module up
    monkeypatch.chdir(tmp_path)
    for line, code in blocks(page):
        exec(compile("\n" * (line - 1) + code, page, "exec"), module.__dict__)


@pytest.mark.parametrize("page", sorted(ELSEWHERE))
def test_the_code_of_the_other_pages_has_a_test_of_its_own(page: str) -> None:
    [test] = REPOSITORY.glob(f"tests/**/{ELSEWHERE[page]}")
    assert blocks(page) and Path(page).name in test.read_text()


@pytest.mark.parametrize("page", [*PAGES, *MORE])
def test_links_lead_to_files(page: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", text_of(page)):
        if "://" not in target and not target.startswith("mailto:"):
            assert ((REPOSITORY / page).parent / target).exists() or "/api/" in f"/{target}", target


@pytest.mark.parametrize("page", [*PAGES, *MORE])
def test_no_placeholder_is_left(page: str) -> None:
    assert not re.search(r"@[A-Z]+@|TODO|FIXME|XXX", text_of(page))


def test_every_page_is_in_the_navigation() -> None:
    """(MkDocs says so, too; but a page that is missing there is found here first.)"""
    navigation = (REPOSITORY / "mkdocs.yml").read_text()
    for page in PAGES:
        assert page.removeprefix("docs/") in navigation, page


# ---------------------------------------------------------------------- reference


@pytest.mark.parametrize("face", sorted(reference_pages.faces()))
def test_every_public_name_has_its_entry(face: str) -> None:
    """The face is imported, so that what Python sees is compared with what the source says."""
    module = importlib.import_module(face)
    assert list(reference_pages.faces()[face].names) == list(module.__all__)

    page = reference_pages.pages()[f"reference/api/{face}.md"]
    entries = re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    links = re.findall(r"^\| `(\w+)` \| \[`\S+`\]\[(\S+)\] \|$", page, re.MULTILINE)
    faces = re.findall(r"^\| `(\w+)` \| \[`\S+`\]\((\S+)\.md\) \|$", page, re.MULTILINE)
    shown = [*(e.rpartition(".")[2] for e in entries), *(n for n, _ in [*links, *faces])]
    assert sorted(shown) == sorted(module.__all__)

    assert all(inner == f"{face}.{name}" for name, inner in faces)
    assert {inner for _, inner in faces} <= set(reference_pages.faces())

    every = "".join(reference_pages.pages().values())
    for name, target in links:
        home, _, there = target.rpartition(".")
        assert there == name and f"::: {target}\n" in every, target
        assert getattr(importlib.import_module(home), name) is getattr(module, name)


def test_the_four_roots_have_a_page() -> None:
    assert {"wwfl_core", "backends", "reshare", "wwfl"} <= set(reference_pages.faces())


# ---------------------------------------------------------------------- pictures


@pytest.mark.parametrize("name", sorted(diagrams.PICTURES))
def test_a_committed_diagram_is_the_one_that_is_drawn(name: str) -> None:
    committed = (DOCS / "explanation" / f"{name}.svg").read_text(encoding="utf-8")
    assert committed == diagrams.PICTURES[name](), "run: make diagrams"


def test_there_are_examples() -> None:
    assert len(gallery.examples()) >= 6


@pytest.mark.parametrize("name", gallery.examples())
def test_an_example_tells_a_story_and_its_page_shows_it(name: str) -> None:
    code = (gallery.SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(code))

    page = (gallery.PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert f"```python\n{code.rstrip()}\n```" in page, f"run: make gallery ARGS={name}"
    assert re.search(r"^Made by `make gallery` at commit \w+ on .+, in \d+ s\.$", page, re.M)
    assert "<svg" in (gallery.PAGES / f"{name}.svg").read_text(encoding="utf-8")
    assert f"({name}.md)" in (gallery.PAGES / "index.md").read_text(encoding="utf-8")


def test_a_doctest_in_a_docstring_is_code_on_the_site() -> None:
    text = ["Words.", "", ">>> f(1)", "2", "", "More.", "```python", ">>> g()", "```", ">>> h()"]
    assert reference_pages.fenced(text) == [
        *("Words.", "", "```python", ">>> f(1)", "2", "```", "", "More."),
        *("```python", ">>> g()", "```"),
        *("```python", ">>> h()", "```"),
    ]
