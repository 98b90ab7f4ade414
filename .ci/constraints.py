"""Print constraints.txt: the installed versions of carbonedge[dev] and of all its dependencies."""

from __future__ import annotations

import tomllib
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HEADER = """\
# The versions that make, pip and `mlflow run .` install; pyproject.toml has the ranges.
# Written by `make constraints`: the versions in .venv of carbonedge[dev] and all its dependencies. Resolved
# with Python 3.11 on Linux; packages that only Windows or a CUDA build of torch adds are not pinned.
# To change one: `.venv/bin/python -m pip install -U NAME`, then `make check constraints`.
"""

REMARKS = {
    "torch": """\
# Without a pin, pip installs the latest torch, and on Linux its default build adds 3 GB of CUDA. The pin
# admits the CPU build too (2.13.0+cpu satisfies ==2.13.0): on Linux without a GPU, set PIP_EXTRA_INDEX_URL to
# PyTorch's CPU index (its "Get started" page has the address) before the first `make`, and torch and
# torchvision come from there at a tenth of the size.
"""
}


def closure(wanted: list[Requirement]) -> set[str]:
    """Names of the wanted distributions and of all their dependencies on this platform."""
    todo = [(requirement.name, extra) for requirement in wanted for extra in {"", *requirement.extras}]
    seen: set[tuple[str, str]] = set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for line in requires(name) or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                todo += [(canonicalize_name(need.name), also) for also in {"", *need.extras}]
    return {canonicalize_name(name) for name, _ in seen}


def constraints(pyproject: Path) -> str:
    """The text of constraints.txt for a project."""
    project = tomllib.loads(pyproject.read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["dev"]
    text = HEADER
    for name in sorted(closure([Requirement(line) for line in lines])):
        text += REMARKS.get(name, "") + f"{name}=={Version(version(name)).public}\n"
    return text


if __name__ == "__main__":
    print(constraints(Path(__file__).parent.parent / "pyproject.toml"), end="")
