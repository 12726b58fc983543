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
    from reshare import reshare
    from wwfl_core.channel.cost import NetworkModel
    from wwfl_core.cluster.local import LocalCluster
    from wwfl_core.errors import WwflError

    from .aggregation import (
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
    from .attacks import attack, model_attack, poison
    from .data import datasets
    from .federation.federation import Federation
    from .federation.inference import InferenceService, RateLimit
    from .federation.schedule import Round, Schedule
    from .federation.topology import Cluster, Ensemble, Group, LocalTrainers, Servers
    from .nn.models import MLP, LeNet, LogisticRegression, ResNet9
    from .nn.train import SGD
    from .privacy import Budget, Private
    from .privacy.policy import Permission, RevealPolicy

_HOME = {
    "Federation": "wwfl.federation.federation",
    "Cluster": "wwfl.federation.topology",
    "Ensemble": "wwfl.federation.topology",
    "Group": "wwfl.federation.topology",
    "LocalTrainers": "wwfl.federation.topology",
    "Servers": "wwfl.federation.topology",
    "Round": "wwfl.federation.schedule",
    "Schedule": "wwfl.federation.schedule",
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
    "Permission": "wwfl.privacy.policy",
    "RevealPolicy": "wwfl.privacy.policy",
    "InferenceService": "wwfl.federation.inference",
    "RateLimit": "wwfl.federation.inference",
    "Budget": "wwfl.privacy",
    "Private": "wwfl.privacy",
    "SGD": "wwfl.nn.train",
    "LeNet": "wwfl.nn.models",
    "LogisticRegression": "wwfl.nn.models",
    "MLP": "wwfl.nn.models",
    "ResNet9": "wwfl.nn.models",
    "datasets": "wwfl.data.datasets",
    "LocalCluster": "wwfl_core.cluster.local",
    "NetworkModel": "wwfl_core.channel.cost",
    "WwflError": "wwfl_core.errors",
    "reshare": "reshare",
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
    """`backends` and `reshare` are common names: one of another project would shadow ours and fail
    in odd ways."""
    ours = Path(__file__).resolve().parent.parent
    for name in ("wwfl_core", "backends", "reshare"):
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != ours:
            raise ImportError(
                f"the package {name!r} that Python finds is {origin or 'missing'}, not the one of "
                f"wwfl in {ours}; "
                f"rename or remove the other one, or install wwfl in an environment of its own"
            )


_refuse_foreign_packages()


def __getattr__(name: str) -> Any:
    try:
        home = import_module(_HOME[name])
    except KeyError:
        raise AttributeError(f"module 'wwfl' has no attribute {name!r}") from None
    return home if name == "datasets" else getattr(home, name)
