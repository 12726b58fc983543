"""wwfl: clusters that run different MPC protocols train one model together; nobody ever sees it.

Names are loaded when they are first used, so that server processes never import torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backends.additive2pc import Additive2PC
    from backends.plain import Plain
    from backends.replicated3pc import Replicated3PC
    from backends.tetrad4pc import Tetrad4PC
    from reshare.api import reshare
    from wwfl.aggregation import (
        Aggregation,
        FedAvg,
        FedAvgM,
        FLTrust,
        Krum,
        Median,
        MultiKrum,
        NormClipping,
        Screened,
        TrimmedMean,
        TrimmedMeanVariant,
    )
    from wwfl.attacks import attack, model_attack, poison
    from wwfl.data import datasets
    from wwfl.federation import Federation
    from wwfl.inference import InferenceService, RateLimit
    from wwfl.nn.models import MLP, LeNet, LogisticRegression, ResNet9
    from wwfl.nn.train import SGD
    from wwfl.policy import Permission, RevealPolicy
    from wwfl.privacy import Budget, Private
    from wwfl.schedule import Round, Schedule
    from wwfl.topology import Cluster, Ensemble, Group, LocalTrainers, Servers
    from wwfl_core.cluster import LocalCluster
    from wwfl_core.cost import NetworkModel
    from wwfl_core.errors import WwflError

_HOME = {
    "Federation": "wwfl.federation",
    "Cluster": "wwfl.topology",
    "Ensemble": "wwfl.topology",
    "Group": "wwfl.topology",
    "LocalTrainers": "wwfl.topology",
    "Servers": "wwfl.topology",
    "Round": "wwfl.schedule",
    "Schedule": "wwfl.schedule",
    "Aggregation": "wwfl.aggregation",
    "FLTrust": "wwfl.aggregation",
    "FedAvg": "wwfl.aggregation",
    "FedAvgM": "wwfl.aggregation",
    "Krum": "wwfl.aggregation",
    "Median": "wwfl.aggregation",
    "MultiKrum": "wwfl.aggregation",
    "NormClipping": "wwfl.aggregation",
    "Screened": "wwfl.aggregation",
    "TrimmedMean": "wwfl.aggregation",
    "TrimmedMeanVariant": "wwfl.aggregation",
    "attack": "wwfl.attacks",
    "model_attack": "wwfl.attacks",
    "poison": "wwfl.attacks",
    "Permission": "wwfl.policy",
    "RevealPolicy": "wwfl.policy",
    "InferenceService": "wwfl.inference",
    "RateLimit": "wwfl.inference",
    "Budget": "wwfl.privacy",
    "Private": "wwfl.privacy",
    "SGD": "wwfl.nn.train",
    "LeNet": "wwfl.nn.models",
    "LogisticRegression": "wwfl.nn.models",
    "MLP": "wwfl.nn.models",
    "ResNet9": "wwfl.nn.models",
    "datasets": "wwfl.data.datasets",
    "LocalCluster": "wwfl_core.cluster",
    "NetworkModel": "wwfl_core.cost",
    "WwflError": "wwfl_core.errors",
    "reshare": "reshare.api",
    "Plain": "backends.plain",
    "Additive2PC": "backends.additive2pc",
    "Replicated3PC": "backends.replicated3pc",
    "Tetrad4PC": "backends.tetrad4pc",
}

__all__ = [
    "MLP",
    "SGD",
    "Additive2PC",
    "Aggregation",
    "Budget",
    "Cluster",
    "Ensemble",
    "FLTrust",
    "FedAvg",
    "FedAvgM",
    "Federation",
    "Group",
    "InferenceService",
    "Krum",
    "LeNet",
    "LocalCluster",
    "LocalTrainers",
    "LogisticRegression",
    "Median",
    "MultiKrum",
    "NetworkModel",
    "NormClipping",
    "Permission",
    "Plain",
    "Private",
    "RateLimit",
    "Replicated3PC",
    "ResNet9",
    "RevealPolicy",
    "Round",
    "Schedule",
    "Screened",
    "Servers",
    "Tetrad4PC",
    "TrimmedMean",
    "TrimmedMeanVariant",
    "WwflError",
    "attack",
    "datasets",
    "model_attack",
    "poison",
    "reshare",
]


def _refuse_foreign_packages() -> None:
    """`backends` and `reshare` are common names: one of another project would shadow ours and fail in odd ways."""
    ours = Path(__file__).resolve().parent.parent
    for name in ("wwfl_core", "backends", "reshare"):
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != ours:
            raise ImportError(
                f"the package {name!r} that Python finds is {origin or 'missing'}, not the one of wwfl in {ours}; "
                f"rename or remove the other one, or install wwfl in an environment of its own"
            )


_refuse_foreign_packages()


def __getattr__(name: str) -> Any:
    try:
        home = import_module(_HOME[name])
    except KeyError:
        raise AttributeError(f"module 'wwfl' has no attribute {name!r}") from None
    return home if name == "datasets" else getattr(home, name)
