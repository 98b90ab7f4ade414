"""`make models-table` writes docs/models.md: every torchvision classifier, its cuts, its stages against it.

Takes about a quarter of an hour and 8 GiB. Each row is written as soon as it is measured, and models that
the file already has are skipped, so the same command continues an interrupted run. Remove the file to start
again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.domain.checks import ConfigError
from pipeline.host.processor import processor
from pipeline.network.graph import Graph
from pipeline.network.models.libraries import torchvision_models
from pipeline.network.models.spec import ModelSpec

_FILE = Path(__file__).parents[2] / "docs" / "models.md"
_INPUT_SIZE = {"inception_v3": 299}
"""Pixels a side, by model, where ModelSpec's default does not fit."""
_COLUMNS = (
    "model",
    "input",
    "layers",
    "inner cuts",
    "least bytes at an inner cut",
    "before layer",
    "export and cuts, CPU s",
    "one stage per layer = whole",
    "two stages = whole",
)


def main(path: Path) -> None:
    """Append to the table at `path` a row for every model that it does not have yet."""
    torch.set_num_threads(1)
    _analyse(nn.ReLU(), torch.zeros(1), "warm-up")  # the first export of a process imports what it needs
    library = torchvision_models()
    with path.open("a+") as file:
        file.seek(0)
        known = {line.split("|")[1].strip() for line in file if line.startswith("|")}
        if not known:
            print(_head(), file=file, flush=True)
        for name in library.list_models(module=library):
            if name not in known:
                print(_line(_row(name)), file=file, flush=True)


def _head() -> str:
    return f"""# Every torchvision classifier, cut

`make models-table` wrote this file: torch {torch.__version__}, one thread of {processor()}.
Weights are random (`ModelSpec`'s default, batch norm calibrated), the input is `torch.randn` with seed 0.

- An *inner cut* lies between two layers; its bytes are those of all tensors alive there. The row names the
  cut with the fewest bytes (the first of equal ones), by the layer with which its second stage begins.
- *Export and cuts* is the time of `Graph.of`: torch.export, then the search for cuts. The model is not run.
- *One stage per layer*: every layer is a stage of its own, so that every cut is crossed, and the answer is
  compared with the unsplit model's by `torch.equal`: yes means equal to the last bit. *Two stages* are those
  at the cut that the row names. The answers must be neither constant nor the same for another input.

{_line(_COLUMNS)}
{_line("---" for _ in _COLUMNS)}"""


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _row(name: str) -> tuple[object, ...]:
    spec = ModelSpec(name, "torchvision", input_size=_INPUT_SIZE.get(name, ModelSpec.input_size))
    model = spec.build()
    x, other = (_picture(spec.input_size, seed) for seed in range(2))
    try:
        graph, seconds = _analyse(model, x, name)
    except ConfigError as error:
        return name, spec.input_size, error
    end = len(graph)
    least = min(graph.cuts[1:-1], key=lambda cut: cut.num_bytes)
    with torch.no_grad():
        whole = model(x)
        assert whole.std() > 1e-3, f"{name}: the output is constant, so equality would prove nothing"
        assert not torch.equal(whole, model(other)), f"{name}: the output does not depend on the input"
        equal = [_equals(graph, bounds, x, whole) for bounds in (range(end + 1), (0, least.index, end))]
    return (
        name,
        spec.input_size,
        end,
        end - 1,
        f"{least.num_bytes:,}",
        f"{least.index} of {end}",
        f"{seconds:.1f}",
        *("yes" if good else "NO" for good in equal),
    )


def _picture(size: int, seed: int) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _analyse(model: nn.Module, x: Tensor, name: str) -> tuple[Graph, float]:
    """The model's graph, and the CPU seconds that it took."""
    start = time.process_time()
    graph = Graph.of(model.eval(), x, name)
    return graph, time.process_time() - start


def _equals(graph: Graph, bounds: Iterable[int], x: Tensor, whole: Tensor) -> bool:
    """Whether the stages between these bounds, one after the other, compute what the whole model does."""
    values: tuple[Tensor, ...] = (x,)
    for begin, end in pairwise(bounds):
        values = graph.stage(begin, end)(*values)
    (output,) = values
    return torch.equal(output, whole)


if __name__ == "__main__":
    main(_FILE)
