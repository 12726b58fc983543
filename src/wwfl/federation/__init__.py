"""Federations: who takes part, how a round trains, what the servers run, and what is known
afterwards.

Here belongs the federation as a user and its servers see it. Rules, models and attacks have rooms
of their own below; configurations and folders of runs are built on it (`wwfl.experiments`). Names
are loaded when they are first used: server processes come here for `server_programs`, and never
load torch."""

from wwfl.lazy_imports import lazy_face

__getattr__, __all__ = lazy_face(__name__, __file__)
