"""Writes the reference of public names: a page per face, an entry per name of its `__all__`.

MkDocs calls `on_files` while it builds the site (mkdocs.yml, `hooks`). The pages exist only in the
built site: there is no list of names to keep beside `__all__`, so none can be out of date. A name
that an outer face takes from an inner one (`wwfl.Plain` is `backends.Plain`) has its entry in the
inner one, and a line with a link in the outer one.

This file reads source text and imports nothing of ours.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from circles import Module, read

SRC = Path(__file__).parent.parent / "src"
FOLDER = "reference/api"


@dataclass(frozen=True)
class Face:
    """A package that says what is public: its name, what its docstring says, its names."""

    name: str
    docstring: str
    names: tuple[str, ...]

    @property
    def page(self) -> str:
        return f"{FOLDER}/{self.name}.md"


def faces(src: Path = SRC) -> dict[str, Face]:
    """Every package with a list `__all__`, or with a stub that lists its names, by its dotted
    name."""
    found = {}
    for path in sorted(src.rglob("__init__.py")):
        name = ".".join(path.relative_to(src).parent.parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        stub = path.with_suffix(".pyi")
        if stub.exists():
            found[name] = Face(name, ast.get_docstring(tree) or "", _stubbed(stub))
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                found[name] = Face(
                    name, ast.get_docstring(tree) or "", ast.literal_eval(node.value)
                )
    return found


def _stubbed(stub: Path) -> tuple[str, ...]:
    """The public names of a lazy face: `from module import Name as Name`."""
    imports = [n for n in ast.parse(stub.read_text("utf-8")).body if isinstance(n, ast.ImportFrom)]
    return tuple(sorted(a.asname for n in imports for a in n.names if a.asname is not None))


def owners(found: dict[str, Face], modules: dict[str, Module]) -> dict[str, str]:
    """face.name -> the face with its entry: the innermost around the place where it is made."""
    made = {
        (face.name, name): _made(modules, face.name, name)
        for face in found.values()
        for name in face.names
    }

    result = {}
    for (face, name), home in made.items():
        same = [f for (f, n), h in made.items() if n == name and h == home]
        owner = max(same, key=lambda f: (home.startswith(f + "."), len(f), f))
        result[f"{face}.{name}"] = owner
    return result


def _made(modules: dict[str, Module], module: str, name: str) -> str:
    """The dotted place where a public name is made, through all faces between."""
    seen = set()
    while (module, name) not in seen:
        seen.add((module, name))
        if f"{module}.{name}" in modules:
            return f"{module}.{name}"
        if name not in modules[module].taken:
            break
        source, taken = modules[module].taken[name]
        if source not in modules:
            break
        module, name = source, taken
    return f"{module}.{name}"


def pages(src: Path = SRC) -> dict[str, str]:
    """The text of every page, by its path below docs/."""
    found, modules = faces(src), read(src)
    owner = owners(found, modules)

    index = [
        "# Public names",
        "",
        "What a face lists (`__all__`) is public; everything else may change without notice.",
        "",
        "| face | names |",
        "| --- | --- |",
    ]
    texts = {}
    for face in found.values():
        own = [
            n
            for n in face.names
            if owner[f"{face.name}.{n}"] == face.name and f"{face.name}.{n}" not in found
        ]
        others = [n for n in face.names if n not in own]
        texts[face.page] = _page(face, own, others, owner)
        index.append(
            f"| [`{face.name}`]({face.name}.md) | {', '.join(f'`{n}`' for n in face.names)} |"
        )

    texts[f"{FOLDER}/index.md"] = "\n".join(index) + "\n"
    return texts


def _page(face: Face, own: list[str], others: list[str], owner: dict[str, str]) -> str:
    lines = [f"# {face.name}", "", face.docstring, ""]

    if others:
        lines += ["| name | its entry |", "| --- | --- |"]
        for name in others:
            home = owner[f"{face.name}.{name}"]
            if home == face.name:  # a face inside this one
                lines.append(f"| `{name}` | [`{home}.{name}`]({home}.{name}.md) |")
                continue
            lines.append(f"| `{name}` | [`{home}.{name}`][{home}.{name}] |")
        lines.append("")

    for name in own:
        lines += [f"::: {face.name}.{name}", ""]
    return "\n".join(lines)


def on_config(config: Any) -> Any:
    """MkDocs' hook: docstrings stay text, and the pages join the navigation where mkdocs.yml names
    their index."""
    config.markdown_extensions.append(_docstrings_as_text())

    index = f"{FOLDER}/index.md"
    section = [index, *({face.name: face.page} for face in faces().values())]
    for tab in config.nav:
        for entries in tab.values():
            if isinstance(entries, list):
                for entry in entries:
                    if isinstance(entry, dict) and index in entry.values():
                        entry.update(dict.fromkeys(entry, section))
                        return config
    raise ValueError(f"mkdocs.yml: no tab of `nav` lists {index}, where the faces belong")


def _docstrings_as_text() -> Any:
    """Markdown without HTML in it, in which a doctest is code: `<g(x), y> = <x, h(y)>` is an
    equation, not two tags that vanish, and `>>>` begins an example, not three quotations."""
    from markdown.extensions import Extension  # only a build of the site has Markdown
    from markdown.preprocessors import Preprocessor

    class Doctests(Preprocessor):
        def run(self, lines: list[str]) -> list[str]:
            return fenced(lines)

    class DocstringsAsText(Extension):
        def extendMarkdown(self, md: Any) -> None:
            md.preprocessors.deregister("html_block")
            md.inlinePatterns.deregister("html")
            md.preprocessors.register(Doctests(md), "doctests", 40)  # before fences are read

    return DocstringsAsText()


def fenced(lines: list[str]) -> list[str]:
    """Doctests (from `>>>` to a blank line) as fenced blocks of code."""
    found: list[str] = []
    inside = fence = False
    for line in lines:
        fence ^= line.lstrip().startswith("```")
        if not inside and not fence and line.startswith(">>> "):
            found.append("```python")
            inside = True
        elif inside and not line.strip():
            found.append("```")
            inside = False
        found.append(line)
    return [*found, "```"] if inside else found


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs' hook: comments of pages that a command made are for whoever edits them."""
    return re.sub(r"^<!--.*?-->\n", "", markdown, flags=re.MULTILINE | re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """MkDocs' hook: adds the pages to those of docs/."""
    from mkdocs.structure.files import File  # only a build of the site has MkDocs

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
