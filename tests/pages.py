"""The pages of the documentation, as tests read them."""

from __future__ import annotations

import re

from helpers import REPOSITORY


def blocks(name: str) -> list[str]:
    """The Python blocks of a page of the repository, in order."""
    text = (REPOSITORY / name).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
