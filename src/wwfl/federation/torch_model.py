"""A model as an ordinary torch module: what trains and classifies in the clear.

Local trainers train this way, and the float engine does. Programs on shares never come here
(`wwfl.nn.Model`), and neither does the reference that tests compare with, which trains by the
same function (`torch_reference.train_cluster`)."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wwfl.nn import SGD, Model, load_parameters
from wwfl_core.errors import WwflError
from wwfl_core.numbers import F64

from . import torch_reference


@dataclasses.dataclass(frozen=True, eq=False)
class TorchModel:
    """A torch module and its description. The module is a template: its own parameters are used
    only by `load` without a target, and no method but `load` changes them."""

    module: nn.Module
    model: Model

    @property
    def dtype(self) -> torch.dtype:
        """In which the module computes."""
        return next(self.module.parameters()).dtype

    def load(self, flat: F64, into: nn.Module | None = None) -> nn.Module:
        """Writes a flat model [size] into a module (by default a copy of the template), rounded to
        its dtype, and returns it.

        Raises:
            ConfigError: numbers that are not finite in that dtype: training has diverged.
        """
        module = copy.deepcopy(self.module) if into is None else into
        params, at = {}, 0
        for name, shape in self.model.shapes.items():
            size = int(np.prod(shape))
            params[name] = flat[at : at + size].reshape(shape)
            at += size
        load_parameters(module, params)
        return module

    def train(
        self,
        flat: F64,
        images: npt.NDArray[Any],
        labels: npt.NDArray[np.int64],
        batches: Sequence[Sequence[int]],
        sgd: SGD,
    ) -> F64:
        """SGD from a flat model [size], float64; the new one.

        images: [n, ...]; labels: int64 [n]; batches: rows, in order. Momentum begins at 0.
        """
        rows = [np.asarray(batch, np.int64) for batch in batches]
        options = {term.name: getattr(sgd, term.name) for term in dataclasses.fields(sgd)}
        params = torch_reference.train_cluster(self.load(flat), images, labels, rows, **options)
        return np.concatenate([params[name].reshape(-1) for name in self.model.shapes])


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A model and the arguments of its `train`, so that a worker can do it elsewhere."""

    model: TorchModel
    flat: F64
    images: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    batches: Sequence[Sequence[int]]
    sgd: SGD

    def trained(self) -> F64:
        """The model [size] after training."""
        return self.model.train(self.flat, self.images, self.labels, self.batches, self.sgd)


def train_all(jobs: Iterable[Job], executor: Executor | None) -> Iterator[F64]:
    """The trained model of every job, in order: here, one after another, or by an executor's
    workers at the same time. The models have the same bits: workers compute with as many threads
    as this process does.

    Raises:
        WwflError: a worker died.
    """
    if executor is None:
        for job in jobs:
            yield job.trained()
        return
    threads = torch.get_num_threads()
    futures = [executor.submit(_train_there, threads, job) for job in jobs]
    try:
        for future in futures:
            yield future.result()
    except BrokenExecutor as error:
        raise WwflError(
            f"a worker that trained in the clear died, perhaps for want of memory: {error}"
        ) from error
    finally:
        for future in futures:
            future.cancel()


def _train_there(threads: int, job: Job) -> F64:
    torch.set_num_threads(threads)
    return job.trained()
