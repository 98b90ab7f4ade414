"""The data that a run used, identified by hashes, for MLflow's list of datasets. Shell: it reads files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from pipeline.carbon.grid import Grid
    from pipeline.execution.job import Service
    from pipeline.execution.workloads.workload import Workload
    from pipeline.network.images import Images


@dataclass(frozen=True)
class Dataset:
    """Data that a run depends on beside its config."""

    name: str
    digest: str
    """The first sixteen hexadecimal digits of the SHA-256 of its content."""
    source: str
    """Its origin: a path, or a description."""
    context: str
    """The part of the config that uses it."""


def datasets(
    services: Sequence[Service], images: Images, workload: Workload, grid: Grid
) -> Iterator[Dataset]:
    """Each model's profile and, if the run computes, its images; the files of the workload and the grid."""
    for service in services:
        problem = service.problem
        name = f"profile of {problem.graph.name} on {problem.fleet.name}"
        content = problem.profile.table.to_csv(index=False).encode()
        yield Dataset(name, _digest(content), "measured on this host", "profiler")
        if service.inputs:
            yield _images(images, service.inputs)
    for context, part in (("workload", workload), ("grid", grid)):
        if isinstance(path := getattr(part, "path", None), str):
            file = Path(path).expanduser()
            yield Dataset(file.name, _digest(file.read_bytes()), str(file.absolute()), context)


def _images(images: Images, inputs: Sequence[torch.Tensor]) -> Dataset:
    content = b"".join(each.numpy().tobytes() for each in inputs)
    if isinstance(path := getattr(images, "path", None), str):
        folder = Path(path).expanduser().absolute()
        return Dataset(folder.name, _digest(content), str(folder), "images")
    return Dataset("photographs", _digest(content), "scikit-learn's sample images", "images")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
