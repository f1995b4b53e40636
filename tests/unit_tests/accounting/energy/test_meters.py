"""Counters are read once each, wrap around without a loss, and what cannot be read is said."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared_core.accounting.energy import meters
from shared_core.accounting.energy.meters import measured, nvml, rapl
from shared_core.errors import ConfigurationError

Write = Callable[..., None]


def zone(folder: Path, place: str, name: str, joules: float, most: float = 1_000.0) -> None:
    """One zone of a powercap tree, with its counter at so many joules."""
    where = folder / place
    where.mkdir(parents=True, exist_ok=True)
    (where / "name").write_text(f"{name}\n")
    (where / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (where / "max_energy_range_uj").write_text(f"{round(most * 1e6)}\n")


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "powercap"
    folder.mkdir()
    monkeypatch.setattr(meters, "POWERCAP", folder)
    return folder


class FakeNVML(types.ModuleType):
    """GPUs that took so many joules."""

    class NVMLError(Exception):
        """What NVML raises."""

    def __init__(self, joules: dict[int, float]) -> None:
        super().__init__("pynvml")
        self.joules, self.broken = joules, False

    def nvmlInit(self) -> None:  # noqa: N802 - NVML calls it so
        if not self.joules:
            raise self.NVMLError("no driver")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML calls it so
        return len(self.joules)

    def nvmlDeviceGetHandleByIndex(self, number: int) -> str:  # noqa: N802 - NVML calls it so
        if number not in self.joules:
            raise self.NVMLError("invalid argument")
        return f"gpu{number}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802 - NVML calls it so
        if self.broken:
            raise self.NVMLError("not supported")
        return round(self.joules[int(handle.removeprefix("gpu"))] * 1_000)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> FakeNVML:
    fake = FakeNVML({})
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def two_packages(folder: Path, first: float, second: float, memory: float) -> None:
    zone(folder, "intel-rapl:0", "package-0", first)
    zone(folder, "intel-rapl:0:0", "core", first / 2)
    zone(folder, "intel-rapl:0:1", "dram", memory)
    zone(folder, "intel-rapl:1", "package-1-die-0", second)
    zone(folder, "intel-rapl:1:0", "uncore", second / 3)
    zone(folder, "intel-rapl:2", "psys", 3 * (first + second))
    zone(folder, "intel-rapl-mmio:0", "package-0", first)
    (folder / "intel-rapl").mkdir(exist_ok=True)


def test_packages_and_memory_are_counted_once(powercap: Path) -> None:
    two_packages(powercap, 10, 20, 5)
    meter = rapl(powercap)
    assert meter is not None
    assert meter.joules() == 0
    two_packages(powercap, 13, 27, 7)
    assert meter.joules() == pytest.approx(3 + 7 + 2)
    assert (meter.method, meter.spread) == ("measured (RAPL)", (0.9, 1.1))


def test_a_counter_that_wraps_around_loses_nothing(powercap: Path) -> None:
    zone(powercap, "intel-rapl:0", "package-0", 990, most=1_000)
    meter = rapl(powercap)
    assert meter is not None
    seen = []
    for reading in (995, 4, 999, 1):
        zone(powercap, "intel-rapl:0", "package-0", reading, most=1_000)
        seen.append(meter.joules())
    assert seen == pytest.approx([5, 14, 1009, 1011])


def test_what_cannot_be_read_is_no_meter(powercap: Path) -> None:
    assert rapl(powercap) is None
    two_packages(powercap, 1, 2, 3)
    assert rapl(powercap) is not None
    counter = powercap / "intel-rapl:1" / "energy_uj"
    counter.unlink()
    counter.mkdir()  # reading it fails, for root too
    assert rapl(powercap) is None


def test_gpus_are_all_counted_or_those_that_are_named(gpus: FakeNVML) -> None:
    gpus.joules.update({0: 100.0, 1: 200.0, 2: 300.0})
    every, some = nvml(), nvml([2, 0, 2])
    assert every is not None
    assert some is not None
    gpus.joules.update({0: 101.0, 1: 210.0, 2: 400.0})
    assert every.joules() == pytest.approx(111)
    assert some.joules() == pytest.approx(101)
    assert (every.method, every.spread) == ("measured (NVML)", (0.95, 1.05))


def test_a_gpu_whose_driver_was_loaded_anew_counts_on(gpus: FakeNVML) -> None:
    gpus.joules[0] = 100.0
    meter = nvml()
    assert meter is not None
    seen = []
    for reading in (150.0, 2.0, 5.0):
        gpus.joules[0] = reading
        seen.append(meter.joules())
    assert seen == pytest.approx([50, 50, 53])


def test_no_driver_no_package_or_an_old_gpu_is_no_meter(
    gpus: FakeNVML, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nvml() is None
    gpus.joules[0] = 1.0
    assert nvml([]) is None
    assert nvml([1]) is None
    gpus.broken = True
    assert nvml() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml() is None


def test_processor_and_gpus_are_added(powercap: Path, gpus: FakeNVML) -> None:
    zone(powercap, "intel-rapl:0", "package-0", 10)
    gpus.joules[0] = 100.0
    both, processor = measured(), measured(gpus=())
    zone(powercap, "intel-rapl:0", "package-0", 12)
    gpus.joules[0] = 105.0
    assert both.joules() == pytest.approx(7)
    assert both.method == "measured (RAPL, NVML)"
    assert both.spread == (0.9, 1.1)
    assert processor.joules() == pytest.approx(2)


def test_counters_are_preferred_to_declared_watts(powercap: Path, gpus: FakeNVML) -> None:
    gpus.joules[0] = 100.0
    assert measured(watts=65, pid=os.getpid()).method == "measured (NVML)"
    zone(powercap, "intel-rapl:0", "package-0", 10)
    assert measured(watts=65, gpus=[]).method == "measured (RAPL)"


def test_declared_watts_count_seconds(
    powercap: Path, gpus: FakeNVML, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [50.0]
    monkeypatch.setattr(meters.time, "monotonic", lambda: now[0])
    meter = measured(watts=65)
    now[0] = 60.0
    assert meter.joules() == pytest.approx(650)
    assert (meter.method, meter.spread) == ("estimated: 65 W x seconds", (1, 1))


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a process into a made-up /proc: its CPU-seconds, those of ended children, its own."""
    monkeypatch.setattr(meters, "PROC", tmp_path / "proc")

    def write(pid: int, own: float, ended: float = 0.0, children: Any = (), began: int = 7) -> None:
        per_second = os.sysconf("SC_CLK_TCK")
        where = tmp_path / "proc" / str(pid)
        (where / "task" / str(pid)).mkdir(parents=True, exist_ok=True)
        ticks = [round(own * per_second), 0, 0, round(ended * per_second)]
        fields = ["S", *[1] * 10, *ticks, *[1] * 4, began, 99, 9]
        (where / "stat").write_text(f"{pid} (a (odd) name) {' '.join(map(str, fields))}\n")
        listed = "".join(f"{child} " for child in children)
        (where / "task" / str(pid) / "children").write_text(listed)

    return write


def test_declared_watts_count_the_cpu_seconds_of_a_process_and_its_children(
    powercap: Path, gpus: FakeNVML, processes: Write
) -> None:
    processes(10, own=1, ended=1, children=[11, 12])
    processes(11, own=2, children=[13])
    processes(12, own=0)
    processes(13, own=3)
    processes(99, own=50)  # somebody else's
    meter = measured(watts=20, pid=10)
    processes(10, own=2, ended=1, children=[11, 12])
    processes(13, own=5)
    processes(99, own=90)
    assert meter.joules() == pytest.approx(20 * (1 + 2))
    processes(10, own=2, ended=6, children=[11])  # 12 is gone, and had taken 5 s
    assert meter.joules() == pytest.approx(20 * (1 + 2 + 5))
    processes(11, own=0)  # 13 is gone too, its seconds with it: what is counted never falls
    assert meter.joules() == pytest.approx(20 * (1 + 2 + 5))
    assert meter.method == "estimated: 20 W x CPU-seconds"


def test_a_process_that_has_ended_is_not_mistaken_for_the_next(
    powercap: Path, gpus: FakeNVML, processes: Write, tmp_path: Path
) -> None:
    processes(10, own=1, began=7)
    meter = measured(watts=20, pid=10)
    processes(10, own=1, began=8)
    with pytest.raises(ProcessLookupError, match="another has its number"):
        meter.joules()
    (tmp_path / "proc" / "10" / "stat").unlink()
    with pytest.raises(FileNotFoundError):
        meter.joules()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux alone")
def test_the_cpu_seconds_of_a_real_process_are_those_that_its_child_took(
    powercap: Path, gpus: FakeNVML
) -> None:
    busy = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}]); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as server:
        meter, deadline = measured(watts=10, pid=server.pid), time.monotonic() + 30
        while (joules := meter.joules()) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        server.communicate(b"\n")
    assert 5 <= joules < 30


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, r"no counter of energy can be read here.*give watts="),
        ({"pid": os.getpid()}, r"give watts="),
        ({"watts": 0}, r"watts must be a number above 0, not 0"),
        ({"watts": -3.0}, r"watts must be"),
        ({"watts": float("nan")}, r"watts must be"),
        ({"watts": float("inf")}, r"watts must be"),
        ({"watts": True}, r"watts must be"),
        ({"watts": "65"}, r"watts must be"),
        ({"watts": 65, "pid": 2**30}, r"there is no process 1073741824"),
        ({"watts": 65, "pid": 0}, r"pid must be the number of a process, not 0"),
        ({"watts": 65, "pid": True}, r"pid must be"),
        ({"watts": 65, "pid": "ollama"}, r"pid must be"),
        ({"watts": 65, "gpus": [0]}, r"NVML \(nvidia-ml-py\) cannot read the GPUs \[0\]"),
        ({"gpus": [-1]}, r"gpus must be a list of numbers"),
        ({"gpus": "0"}, r"gpus must be a list of numbers"),
        ({"gpus": 0}, r"gpus must be a list of numbers"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    powercap: Path, gpus: FakeNVML, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        measured(**given)


def test_nothing_heavy_is_imported_until_a_meter_is_wanted() -> None:
    code = "import sys, shared_core.accounting.energy.shares\nassert 'pynvml' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", code], check=True)
