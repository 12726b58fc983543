"""Fails if a page of a built site would load something from elsewhere: `site_check.py FOLDER`.

A font, script, style sheet or picture of another server tells that server who reads what, and is
missing without a network. Links that a reader may follow are not looked at.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
HARMLESS = {"canonical", "next", "prev", "edit"}  # links that tell, and load nothing


class Loads(HTMLParser):
    """Collects what a page loads from an address with a host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") in HARMLESS:
            return
        address = given.get(LOADS.get(tag, "")) or ""
        if re.match(r"(https?:)?//", address):
            self.found.append(f"<{tag}> {address}")


def problems(site: Path) -> list[str]:
    """What the pages and style sheets of a built site load from elsewhere."""
    found = []
    for path in sorted(site.rglob("*.html")):
        parser = Loads()
        parser.feed(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)}: {load}" for load in parser.found]
    for path in sorted(site.rglob("*.css")):
        loads = re.findall(r"(?:url\(|@import )['\"]?((?:https?:)?//[^'\")]+)", path.read_text())
        found += [f"{path.relative_to(site)}: {load}" for load in loads]
    return found


def main() -> int:
    site = Path(sys.argv[1])
    pages = len(list(site.rglob("*.html")))
    if not pages:
        print(f"no page in {site}: build the site first (make docs)")
        return 2
    found = problems(site)
    print("\n".join(found) or f"{pages} pages load nothing from elsewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
