"""A fleet's file with units, from the file to the stored run and back; and one that leaves figures open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.commands.compare import compare
from pipeline.commands.reaccount import reaccount
from pipeline.commands.report import report
from tests.commands.conftest import SIMULATED, Outcome, carbonedge, client, metrics, runs, store

HEAD = "_target_: pipeline.domain.fleet.Fleet.of\nname: mine\nmonolithic: nuc\n"
NUMBERS = """\
core_latency_s: 0.017
devices:
  nuc:
    memory_bytes: 8.0e+9
    idle_w: 5.5
    active_w: 22.1
    reference_latency_s: 0.02265
    dispatch_s: 0.0003
    intensity_g_per_kwh: 620
    embodied_kg: 20
    lifetime_years: 3
    ranges: {idle_w: [5.0, 6.0], lifetime_years: [2, 4]}
  pi:
    memory_bytes: 536870912
    idle_w: 0.35
    active_w: 3.72
    cpu_quota: 0.4
    zone: FR
    embodied_kg: 4
    lifetime_years: 5
links:
  lan: {bandwidth_bytes_per_s: 1.25e+7, latency_s: 0.005, energy_kwh_per_gb: 0.06}
  own: {bandwidth_bytes_per_s: 1.25e+8, latency_s: 0.00005, energy_j_per_byte: 2.16e-4, between: [nuc, pi]}
"""
UNITS = """\
core_latency_s: 17 ms
devices:
  nuc:
    memory_bytes: 8 GB
    idle_w: 5500 mW
    active_w: 22.1 W
    reference_latency_s: 22.65 ms
    dispatch_s: 300 us
    intensity_g_per_kwh: 620 g/kWh
    embodied_kg: 20 kg
    lifetime_years: 36 months
    ranges: {idle_w: [5.0, 6 W], lifetime_years: [2 years, 4]}
  pi:
    memory_bytes: 512 MiB
    idle_w: 350 mW
    active_w: 3.72 W
    cpu_quota: 0.4
    zone: FR
    embodied_kg: 4000 g
    lifetime_years: 5 years
links:
  lan: {bandwidth_bytes_per_s: 100 Mbit/s, latency_s: 5 ms, energy_kwh_per_gb: 0.06 kWh/GB}
  own: {bandwidth_bytes_per_s: 1 Gbps, latency_s: 50 us, energy_j_per_byte: 0.06 kWh/GB, between: [nuc, pi]}
"""
PLAN = ("partitioner=explicit", "partitioner.stages=2", "partitioner.devices=[nuc,pi]")


def run(where: Path, fleet: str, *arguments: str) -> Outcome:
    """A simulated run on a fleet of that text, with the store of that folder."""
    (where / "conf" / "fleet").mkdir(parents=True, exist_ok=True)
    (where / "conf" / "fleet" / "mine.yaml").write_text(HEAD + fleet)
    profile = [each for each in SIMULATED if not each.startswith("fleet")]
    return carbonedge(where, *profile, "--config-dir", str(where / "conf"), "fleet=mine", *arguments)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A store with the same run on the fleet of plain numbers and of units, and the two runs' ids."""
    where = tmp_path_factory.mktemp("units")
    ids: list[str] = []
    for fleet in (NUMBERS, UNITS):
        done = run(where, fleet, "workload.requests=20", *PLAN)
        assert done.code == 0, done.errors
        assert "the fleet 'mine' has no" not in done.output + done.errors
        ids += [each.info.run_id for each in runs(where) if each.info.run_id not in ids]
    return where, ids[0], ids[1]


def test_a_run_is_that_of_the_plain_numbers(both: tuple[Path, str, str]) -> None:
    where, numbers, units = both
    found = metrics(where, units)
    assert found == metrics(where, numbers)
    assert found["transfer_bytes_per_inf"] > 0
    assert {"carbon_network_g", "carbon_embodied_g", "carbon_total_g_low"} <= found.keys()


def test_the_stored_config_is_what_was_written_and_can_be_read_again(
    both: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, numbers, units = both
    monkeypatch.chdir(tmp_path)
    kept = Path(client(where).download_artifacts(units, "config.yaml", str(tmp_path))).read_text()
    assert "memory_bytes: 8 GB" in kept
    assert "idle_w:\n        - 5.0\n        - 6 W" in kept
    report([units], [store(where)])
    audit = json.loads((tmp_path / f"audit-{units}.json").read_text())
    by_name = {(row["owner"], row["coefficient"]): row for row in audit["coefficients"]}
    idle = by_name["nuc", "idle_w"]
    assert (idle["low"], idle["value"], idle["high"]) == pytest.approx((5, 5.5, 6))
    compare([numbers, units], [store(where)])
    reaccount([units], ["fleet.devices.pi.idle_w=300 mW", store(where)])
    (child,) = [each for each in runs(where) if each.data.tags.get("reaccounted_from") == units]
    reaccount([numbers], ["fleet.devices.pi.idle_w=0.3", store(where)])
    (other,) = [each for each in runs(where) if each.data.tags.get("reaccounted_from") == numbers]
    assert child.data.metrics == other.data.metrics
    assert child.data.metrics["carbon_idle_g"] < metrics(where, units)["carbon_idle_g"]


def test_the_command_line_takes_units_too(tmp_path: Path) -> None:
    done = run(tmp_path, NUMBERS, "fleet.links.own.latency_s=5 apples")
    assert (done.code, done.output) == (2, "")
    expected = "must be a number in s or a text such as '5 ms' (it is '5 apples')"
    assert done.errors == f"error: fleet.links.own.latency_s: {expected}\n"


def test_what_is_not_stated_is_told_once_and_in_the_boundary(tmp_path: Path) -> None:
    """A sweep of two trials says each line once; the devices that state a figure are not named."""
    open_fleet = UNITS.replace("    idle_w: 350 mW\n", "").replace("    cpu_quota: 0.4\n", "")
    done = run(tmp_path, open_fleet.replace("core_latency_s: 17 ms\n", ""), "-m", "repeat=0,1", *PLAN)
    assert done.code == 0, done.errors
    said = [line for line in (done.output + done.errors).splitlines() if "the fleet 'mine' has no" in line]
    idle, quick = said
    assert "no idle_w for pi: taken as 0 W" in idle
    assert "no speed, reference_latency_s or cpu_quota for pi: taken as one core of this host" in quick
    trials = [each for each in runs(tmp_path) if "boundary" in each.data.tags]
    assert len(trials) >= 2
    for trial in trials:
        assert "over the whole run, taken as 0 W for pi)" in trial.data.tags["boundary"]
