"""A file of weights that would take PyTorch's reader for ever is refused; what torch.save writes is not."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.domain.checks import ConfigError
from pipeline.network.models import pickled
from pipeline.network.models.pickled import require_readable, require_small
from pipeline.network.models.weights import load_weights

START, STOP = b"\x80\x02", b"."


def nested(empty: bytes, wrap: bytes, depth: int) -> bytes:
    """Values of which each is within the next; `wrap` makes it of the one before, which is on top and N."""
    made = empty + b"r" + (0).to_bytes(4, "little")
    for k in range(1, depth):
        made += wrap.replace(b"N", b"j" + (k - 1).to_bytes(4, "little")) + b"r" + k.to_bytes(4, "little")
    return made


TUPLES = nested(b")", b"N\x86", 60)
"""A tuple that holds the one before it twice: 2**60 values in 700 bytes."""
HOSTILE = {
    "as a key": START + b"}" + TUPLES + b"K\x01s" + STOP,
    "as one key of several": START + b"}(" + TUPLES + b"K\x01K\x02K\x03u" + STOP,
    "as the key of a storage": START + b"(X\x07\0\0\0storageK\x01" + TUPLES + b"K\x01K\x01tQ" + STOP,
    "in a call": START + b"ccollections\nCounter\n(" + TUPLES + b"tR" + STOP,
    "as a kind of storage": START + nested(b"]", b"](NNe", 60) + b"K\x01\x86Q" + STOP,
    "as keys of many dicts": START + nested(b")", b"N\x86", 20) + b"}j\x13\0\0\0K\x01s" * 20 + STOP,
}


def weights(path: Path, pickle: bytes, packing: int = zipfile.ZIP_STORED) -> Path:
    """A file of weights as torch.save writes it, with another pickle."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(3000)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w", packing) as new:
        for name in old.namelist():
            new.writestr(name, pickle if pickle and name.endswith("data.pkl") else old.read(name))
    return path


def complaint(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_weights(nn.Linear(2, 2), "linear", str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_be_hashed_or_printed_for_ever_is_refused(name: str, tmp_path: Path) -> None:
    path = weights(tmp_path / "w.pt", HOSTILE[name])
    assert complaint(path) == f"model.weights: cannot read {path} (it holds more than 10000000 values)"
    (tmp_path / "old.pt").write_bytes(HOSTILE[name])
    assert "more than 10000000 values" in complaint(tmp_path / "old.pt")


@pytest.mark.parametrize(
    ("pickle", "words"),
    [
        (START + b"}" + nested(b")", b"\x85", 5000) + b"K\x01s" + STOP, "nested more than 100 deep"),
        (START + b"]q\x00h\x00a" + STOP, "cycle"),
        (START + b"t" + STOP, "it is broken"),
        (START + b"K\x01K\x02K\x03s" + STOP, "it is broken"),
        (START + b"h\x07" + STOP, "it is broken"),
        (START + b"\x86" + STOP, "it is broken"),
        (START + b"q\x01" + STOP, "it is broken"),
        (START, "cannot read"),
        (b"no pickle", "cannot read"),
    ],
)
def test_what_no_state_dict_is_is_one_line(pickle: bytes, words: str, tmp_path: Path) -> None:
    assert words in complaint(weights(tmp_path / "w.pt", pickle))


def test_the_number_of_instructions_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "MOST_OPCODES", 100)
    with pytest.raises(ConfigError, match="^it has more than 100 instructions$"):
        require_small(io.BytesIO(START + b"N0" * 100 + b"N" + STOP))


def test_packed_parts_are_refused(tmp_path: Path) -> None:
    """They could unpack to any size, and PyTorch packs none."""
    assert "its parts are packed" in complaint(weights(tmp_path / "w.pt", b"", zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("ending", ["pt", "pth", "safetensors"])
def test_a_pipe_is_not_waited_for(ending: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"w.{ending}")
    assert complaint(tmp_path / f"w.{ending}").endswith("is not a regular file)")


def test_keys_are_names(tmp_path: Path) -> None:
    torch.save({1: torch.zeros(1)}, tmp_path / "w.pt")
    assert complaint(tmp_path / "w.pt").endswith("w.pt must have text as keys (one is 1)")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("what", ["state", "parameters", "checkpoint"])
def test_what_torch_writes_is_read(what: str, old: bool, tmp_path: Path) -> None:
    """Also with an optimiser, whose groups share values, and with a tensor under two names."""
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam([{"params": [each]} for each in model.parameters()], betas=(0.9, 0.99))
    model(torch.randn(3, 2)).sum().backward()
    optimizer.step()
    shared = torch.zeros(2)
    saved = {
        "state": model.state_dict(),
        "parameters": dict(model.named_parameters()) | {"x": shared, "y": shared},
        "checkpoint": {"state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3},
    }[what]
    path = tmp_path / "w.pth"
    torch.save(saved, path, _use_new_zipfile_serialization=not old)
    with path.open("rb") as file:
        require_readable(file)
    if what != "parameters":
        load_weights(model, "two", str(path))
