"""The paper's tables and figures, one module each: `DESCRIPTION`, and `run(console, full=...)` -> JSON-serialisable."""
