"""What malicious clients can do: poison the data that they share, or (in plain federated learning)
their models.

Here belongs what an attacker changes and who the attackers are. Whether it works is measured by the
federation that trains on the result. Attacks are made by name, and loaded then: one of them trains
a surrogate in torch."""

from .api import Changed, DataAttack, Held, ModelAttack, success_rate
from .placement import Placement, malicious_count, place
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
    "malicious_count",
    "model_attack",
    "model_attacks",
    "place",
    "poison",
    "success_rate",
]
