"""Counts the circles among the imports of our own modules: `python tools/circles.py [src]`.

A circle is a set of modules that all reach each other by imports (a strongly connected component
of more than one module, or a module that imports itself). Every import statement counts: at the
top, inside a function, under `TYPE_CHECKING`, in `try`. Names that are looked up at run time
(`importlib.import_module`, entry points) do not: they are how a lower room may find a higher one.

An import from a package's face counts as an import of the module that the face took the name
from, so that a face is no detour that hides a circle. Only inside its own package does a face
count as a module too: a module that imports the face which imports it is in a circle with it.

This file reads source text and imports nothing of ours. Which room may import which is
import-linter's question (`lint-imports`, contracts in pyproject.toml), not this one's.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """`from module import name` (or `import module`, without a name) in a line of a file."""

    module: str
    name: str | None
    line: int


@dataclass
class Module:
    """A file of the source tree, by its dotted name; a package is its `__init__`."""

    name: str
    is_package: bool
    imports: list[Import] = field(default_factory=list)
    taken: dict[str, tuple[str, str]] = field(default_factory=dict)  # name here -> (module, name)


def read(src: Path) -> dict[str, Module]:
    """Every module under `src`, with all its import statements."""
    modules: dict[str, Module] = {}

    for path in sorted(src.rglob("*.py")):
        parts = path.relative_to(src).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = Module(".".join(parts[:-1] if is_package else parts), is_package)

        # A lazy face imports what its stub says, when it is first used.
        stub = path.with_suffix(".pyi")
        for file in (path, stub) if stub.exists() else (path,):
            tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
            for node in ast.walk(tree):
                _note(module, node)
        modules[module.name] = module

    return modules


def _note(module: Module, node: ast.AST) -> None:
    """Adds what one node of the syntax tree imports."""
    if isinstance(node, ast.Import):
        module.imports += [Import(a.name, None, node.lineno) for a in node.names]

    elif isinstance(node, ast.ImportFrom):
        start = _absolute(module, node)
        for alias in node.names:
            name = None if alias.name == "*" else alias.name
            module.imports.append(Import(start, name, node.lineno))
            if name is not None:
                module.taken[alias.asname or name] = (start, name)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    """The absolute name of the module that `from ... import` names."""
    if node.level == 0:
        return node.module or ""

    parts = module.name.split(".")
    base = parts[: len(parts) - node.level + (1 if module.is_package else 0)]
    return ".".join([*base, *([node.module] if node.module else [])])


def targets(modules: dict[str, Module], importer: str, found: Import) -> Iterator[str]:
    """The modules of ours that one import statement reaches."""
    if found.name is not None and f"{found.module}.{found.name}" in modules:
        yield f"{found.module}.{found.name}"
        return

    module = _nearest(modules, found.module)
    if module is None:
        return  # somebody else's package

    inside = importer != module and importer.startswith(module + ".")
    home = _home(modules, module, found.name)
    if home != module:
        yield home
    if home == module or inside:
        yield module


def _nearest(modules: dict[str, Module], name: str) -> str | None:
    """The module itself, or the package of ours that holds it."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def _home(modules: dict[str, Module], module: str, name: str | None) -> str:
    """Where a name of a face was made: follows `from x import name` through faces."""
    seen: set[tuple[str, str]] = set()

    while name is not None and modules[module].is_package and name in modules[module].taken:
        if (module, name) in seen:
            break
        seen.add((module, name))

        source, taken = modules[module].taken[name]
        if f"{source}.{taken}" in modules:
            return f"{source}.{taken}"

        nearest = _nearest(modules, source)
        if nearest is None:
            break
        module, name = nearest, taken

    return module


def graph(modules: dict[str, Module]) -> dict[str, dict[str, int]]:
    """module -> module that it imports -> the line of the first such import."""
    edges: dict[str, dict[str, int]] = {}
    for name, module in modules.items():
        out = edges.setdefault(name, {})
        for found in module.imports:
            for target in targets(modules, name, found):
                out.setdefault(target, found.line)
    return edges


def circles(edges: dict[str, dict[str, int]]) -> list[list[str]]:
    """The strongly connected components with a circle in them, largest first.

    Kosaraju's algorithm without recursion: finishing order of the graph, then components of the
    graph with its arrows turned round.
    """
    order: list[str] = []
    seen: set[str] = set()
    for start in edges:
        stack = [(start, iter(edges[start]))] if start not in seen else []
        seen.add(start)
        while stack:
            node, rest = stack[-1]
            step = next((n for n in rest if n not in seen), None)
            if step is None:
                order.append(node)
                stack.pop()
            else:
                seen.add(step)
                stack.append((step, iter(edges[step])))

    backwards: dict[str, list[str]] = {n: [] for n in edges}
    for node, out in edges.items():
        for target in out:
            backwards[target].append(node)

    found: list[list[str]] = []
    placed: set[str] = set()
    for start in reversed(order):
        if start in placed:
            continue
        component, todo = [], [start]
        placed.add(start)
        while todo:
            node = todo.pop()
            component.append(node)
            fresh = [n for n in backwards[node] if n not in placed]
            placed.update(fresh)
            todo += fresh
        if len(component) > 1 or start in edges[start]:
            found.append(sorted(component))

    return sorted(found, key=lambda c: (-len(c), c))


def report(src: Path) -> tuple[int, str]:
    """The number of circles, and a text that names every import that holds one together."""
    edges = graph(read(src))
    found = circles(edges)
    lines = []
    for number, circle in enumerate(found, 1):
        lines.append(f"circle {number}: {len(circle)} modules")
        for module in circle:
            inside = sorted(t for t in edges[module] if t in circle)
            lines += [f"  {module}:{edges[module][t]} imports {t}" for t in inside]
    lines.append(f"{len(found)} circles among {len(edges)} modules")
    return len(found), "\n".join(lines)


def main() -> int:
    src = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "src"
    if not any(src.rglob("*.py")):
        print(f"no Python file under {src}: give the folder that holds the packages")
        return 2
    count, text = report(src)
    print(text)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
