"""Pages and pictures of runs. Needs the extra `report` (jinja2, matplotlib); nothing here asks a network for anything."""
