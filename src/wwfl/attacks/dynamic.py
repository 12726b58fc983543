"""Dynamic label flipping: a surrogate model tells which label is the least likely (Shejwalkar et
al., S&P'22)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from wwfl.data import Dataset, draw_batches
from wwfl.nn import lenet5
from wwfl_core.errors import ConfigError

from .api import Changed, DataAttack, Held, coin

INFERENCE_BATCH = 500


@dataclass(frozen=True)
class DynamicLabelFlip(DataAttack):
    """Every label becomes the one that a surrogate finds least likely.

    The surrogate is trained on the clean data of all malicious clients together, a sample as often
    as it is held, with the paper's parameters (Table 9) by default.

    model: makes a fresh model from a seed; take the architecture that is under attack. device:
    where torch trains it."""

    model: Callable[[int], nn.Module] = lenet5
    epochs: int = 50
    batch: int = 128
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    device: str = "cpu"
    name: ClassVar[str] = "dlf"

    def corrupt(self, held: Held, seed: int) -> Changed:
        logits = self.logits(self.surrogate(held, seed), held.data.images[held.ids])
        if logits.shape[1] < held.data.classes:
            raise ConfigError(
                f"dlf: the surrogate has {logits.shape[1]} outputs for {held.data.classes} classes"
            )
        return Changed(logits[:, : held.data.classes].argmin(1).astype(np.int64))

    def surrogate(self, held: Held, seed: int) -> nn.Module:
        """The model that the attacker trains. The same seed gives the same model on the same
        machine and torch."""
        order = coin(seed, "dlf", "batches")
        fresh = int.from_bytes(coin(seed, "dlf", "model")[:7], "little")
        module = self.model(fresh).to(self.device)
        self._try(module, held.data)
        optimiser = torch.optim.SGD(
            module.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )
        labels = torch.from_numpy(held.data.labels)
        module.train()
        for batch in draw_batches(order, len(held.pool), self.batch, self.epochs):
            rows = held.pool[batch]
            images = torch.from_numpy(held.data.images[rows]).to(self.device)
            optimiser.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(module(images), labels[rows].to(self.device)).backward()
            optimiser.step()
        return module.eval()

    def _try(self, module: nn.Module, data: Dataset) -> None:
        try:
            self.logits(module.eval(), data.images[:1])
        except RuntimeError as error:
            raise ConfigError(
                f"dlf: its surrogate does not take images {list(data.images.shape[1:])} of "
                f"{data.name}; pass the model under attack, model=function of a seed ({error})"
            ) from error

    def logits(self, module: nn.Module, images: np.ndarray) -> np.ndarray:
        """What `module` says of images float32 [n, c, h, w]: float32 [n, outputs].

        Raises:
            ConfigError: training has not converged to finite numbers.
        """
        found = []
        with torch.no_grad():
            for start in range(0, len(images), INFERENCE_BATCH):
                part = torch.from_numpy(images[start : start + INFERENCE_BATCH]).to(self.device)
                found.append(module(part).cpu().numpy())
        logits = np.concatenate(found)
        if not np.isfinite(logits).all():
            raise ConfigError(f"dlf: the surrogate diverged at lr={self.lr}; lower it")
        return logits
