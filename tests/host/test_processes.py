"""Processes of modules: which files they import; and whether a process is alive."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from pipeline.host.processes import alive, module_command, module_environment, this_process


def test_a_file_of_the_working_directory_shadows_no_package(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("raise SystemExit('the wrong module')")
    command = module_command("pipeline.host.processes")
    done = subprocess.run(command, env=module_environment(), cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_process_imports_what_this_one_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_ins, elsewhere = tmp_path / "plug_ins", tmp_path / "elsewhere"
    plug_ins.mkdir()
    elsewhere.mkdir()
    (plug_ins / "a_plug_in_of_mine.py").write_text("import sys; print(sys.argv[1])")
    monkeypatch.syspath_prepend(str(plug_ins))
    command = module_command("a_plug_in_of_mine", "an argument")
    done = subprocess.run(command, env=module_environment(), cwd=elsewhere, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "an argument\n")


def test_a_process_is_alive_until_it_ends() -> None:
    assert alive(this_process())
    child = subprocess.Popen(["sleep", "60"])
    owner = [socket.gethostname(), child.pid, psutil.Process(child.pid).create_time()]
    assert alive(owner)
    child.kill()
    child.wait()
    assert not alive(owner)
    assert not alive([socket.gethostname(), os.getpid(), 1.0]), "the pid belongs to a later process"
    assert alive(["another machine", 1, 1.0])
