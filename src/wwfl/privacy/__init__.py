"""What a federation lets out: differential privacy of the aggregated model, and reveal policies.

Here belongs who may learn what (`RevealPolicy`, enforced at every server), clipping in MPC with
discrete Gaussian noise of every server (`Private`), and what that noise promises (`Budget`,
`Guarantee`). `reveal_policy` is public as a module, since servers' programs call its
functions, and so is `discrete_gaussian`. No torch here: server processes stay small."""

from . import discrete_gaussian, reveal_policy
from .accountant import Budget, Guarantee, gaussian_epsilon, releases_within
from .private_rule import Private
from .reveal_policy import Permission, RevealPolicy

__all__ = [
    "Budget",
    "Guarantee",
    "Permission",
    "Private",
    "RevealPolicy",
    "discrete_gaussian",
    "gaussian_epsilon",
    "releases_within",
    "reveal_policy",
]
