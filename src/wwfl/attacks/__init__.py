"""What malicious clients can do: poison the data that they share, or (in plain federated learning)
their models."""

from .api import Changed, DataAttack, Held, ModelAttack, success_rate
from .placement import Placement, place
from .poison import Poisoned, poison
from .registry import attack, attacks, model_attack, model_attacks

__all__ = [
    "Changed",
    "DataAttack",
    "Held",
    "ModelAttack",
    "Placement",
    "Poisoned",
    "attack",
    "attacks",
    "model_attack",
    "model_attacks",
    "place",
    "poison",
    "success_rate",
]
