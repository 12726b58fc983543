"""Pages and pictures of runs. Needs the extra `report` (jinja2, matplotlib), and no network."""
