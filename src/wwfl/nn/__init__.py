"""Neural networks: descriptions of models, layers over shared tensors, training, and the way from
torch and back.

Here belongs what concerns one model at one place. Who trains it on whose data is the federation's.
Names are loaded when they are first used: `SGD` or `Model` bring no torch, `trace` and the
ready-made models do."""

from wwfl.lazy_imports import lazy_face

__getattr__, __all__ = lazy_face(__name__, __file__)
