"""What the user's own machine takes: counters of joules.

In: the machine's counters (RAPL of the processor, NVML of the GPUs), or watts that are declared.
Out: a `Meter`; `shares.py` says which call its joules are.

A counter tells of the whole machine, whatever else runs there. Power supply, fans, board are in
none, memory only where RAPL counts it. GPUs renew theirs some ten times a second: a call that is
shorter may get the energy of its neighbour, or none; over many calls it evens out.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from shared_core.errors import ConfigurationError
from shared_core.ranges import is_number, is_whole

__all__ = ["Counters", "Meter", "measured", "nvml", "rapl"]

POWERCAP = Path("/sys/class/powercap")
PROC = Path("/proc")

RAPL_SPREAD = (0.9, 1.1)
"""Packages follow external meters within a few per cent from Haswell on (Hackenberg et al., HPPAC
2015; Khan et al., "RAPL in Action", ACM TOMPECS 3(2), 2018), memory within 20 % (Desrochers et al.,
MEMSYS 2016): 10 % is between the two."""

NVML_SPREAD = (0.95, 1.05)
"""NVIDIA's documentation of NVML states 5 % for power. Yang et al. (SC 2024, arXiv:2312.02741) find
that some GPUs look at a quarter of the time only: short bursts may be further off."""

DECLARED_SPREAD = (1.0, 1.0)
"""Declared watts are taken as they are declared."""


class Meter(Protocol):
    """A counter of joules."""

    @property
    def method(self) -> str:
        """How the energy is known."""

    @property
    def spread(self) -> tuple[float, float]:
        """Factors from what is counted to the ends of the range it is believed to lie in."""

    def joules(self) -> float:
        """Return joules since some start; never less than before."""


class _Counter:
    """What grows steadily, out of what wraps around or begins anew."""

    def __init__(self, read: Callable[[], float], wraps_at: float = 0.0) -> None:
        self._read, self._wraps_at = read, wraps_at
        self._last, self._total = read(), 0.0

    def total(self) -> float:
        now = self._read()
        step = now - self._last
        if step < 0:
            step = max(0.0, step + self._wraps_at)
        self._last, self._total = now, self._total + step
        return self._total


@dataclass(frozen=True, eq=False)
class Counters:
    """Several counters as one meter."""

    method: str
    spread: tuple[float, float]
    counters: Sequence[_Counter] = field(repr=False)
    most_watts: float | None = None  # where it is declared, not measured
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def joules(self) -> float:
        """Return the joules of all of them since they were made."""
        with self._lock:
            return sum(counter.total() for counter in self.counters)


def rapl(folder: Path = POWERCAP) -> Counters | None:
    """Return the processor's own meter, Intel's or AMD's, or None where it cannot be read.

    Every package, and memory, which is no part of a package. Cores and graphics are, and the whole
    platform ("psys") holds them all, so that neither is counted again. A counter wraps around after
    some 260 kJ: what runs for longer than that between two readings is counted short.
    """
    try:
        counters = [_zone(zone) for zone in sorted(folder.glob("intel-rapl:*")) if _is_apart(zone)]
    except (OSError, ValueError):  # since Linux 5.10 the counters are for root, unless opened up
        return None
    return Counters("measured (RAPL)", RAPL_SPREAD, counters) if counters else None


def _is_apart(zone: Path) -> bool:
    name = (zone / "name").read_text().strip()
    return name.startswith("package") or (name == "dram" and zone.name.count(":") == 2)


def _zone(zone: Path) -> _Counter:
    def read() -> float:
        return int((zone / "energy_uj").read_text()) * 1e-6

    return _Counter(read, int((zone / "max_energy_range_uj").read_text()) * 1e-6)


def nvml(gpus: Sequence[int] | None = None) -> Counters | None:
    """Return the meter of NVIDIA's GPUs (all, or those of these numbers), or None without any."""
    try:
        import pynvml  # type: ignore[import-untyped]
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        numbers = range(pynvml.nvmlDeviceGetCount()) if gpus is None else dict.fromkeys(gpus)
        counters = [_gpu(pynvml.nvmlDeviceGetHandleByIndex(number)) for number in numbers]
    except pynvml.NVMLError:  # no driver, no such device, one older than Volta
        return None
    return Counters("measured (NVML)", NVML_SPREAD, counters) if counters else None


def _gpu(handle: object) -> _Counter:
    import pynvml

    return _Counter(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3)


def measured(
    watts: float | None = None, *, pid: int | None = None, gpus: Sequence[int] | None = None
) -> Meter:
    """Return the best meter there is on this machine.

    RAPL and NVML, together where both can be read. Else, where `watts` is given, an estimate: watts
    of a busy core for each CPU-second of the process `pid` and its children, or watts of the
    machine for each second.

    Args:
        watts: What a busy core draws (with `pid`), or the machine (without), where no counter can
            be read.
        pid: The process that runs the model.
        gpus: NVIDIA's numbers of the GPUs that run the model; all by default, () leaves them out.

    Raises:
        ConfigurationError: An argument cannot be meant, a GPU that is named cannot be read, or
            there is no counter and no `watts`.
    """
    _check(watts, pid, gpus)
    processor, graphics = rapl(POWERCAP), nvml(gpus)
    if gpus and graphics is None:
        raise ConfigurationError(f"measured: NVML (nvidia-ml-py) cannot read the GPUs {list(gpus)}")
    if processor and graphics:
        counters = [*processor.counters, *graphics.counters]
        return Counters("measured (RAPL, NVML)", RAPL_SPREAD, counters)
    found = processor or graphics
    if found:
        return found
    if watts is None:
        raise ConfigurationError(
            "measured: no counter of energy can be read here: RAPL's is missing or for root alone "
            f"({POWERCAP}/intel-rapl:*/energy_uj), and there is no GPU that nvidia-ml-py can read. "
            "Make RAPL readable, or give watts= (of the machine, or with pid= of a busy core)"
        )
    if pid is None:
        return _estimate(watts, time.monotonic, "seconds", watts)
    most = watts * (os.cpu_count() or 1)
    return _estimate(watts, _cpu_seconds(pid), "CPU-seconds", most)


def _check(watts: float | None, pid: int | None, gpus: Sequence[int] | None) -> None:
    if watts is not None and not (is_number(watts, 0) and watts > 0):
        raise ConfigurationError(f"measured: watts must be a number above 0, not {watts!r}")
    if pid is not None:
        if not is_whole(pid, 1):
            raise ConfigurationError(f"measured: pid must be the number of a process, not {pid!r}")
        if not (PROC / str(pid) / "task" / str(pid) / "children").exists():
            raise ConfigurationError(
                f"measured: there is no process {pid} whose children {PROC} tells (Linux does)"
            )
    if gpus is not None and not (isinstance(gpus, Sequence) and all(is_whole(n, 0) for n in gpus)):
        raise ConfigurationError(f"measured: gpus must be a list of numbers, not {gpus!r}")


def _estimate(watts: float, seconds: Callable[[], float], unit: str, most: float) -> Counters:
    counter = _Counter(lambda: watts * seconds())
    return Counters(f"estimated: {watts:g} W x {unit}", DECLARED_SPREAD, [counter], most)


def _cpu_seconds(pid: int) -> Callable[[], float]:
    """Return a reader of the CPU-seconds of a process and its children, ended ones too."""
    per_second = os.sysconf("SC_CLK_TCK")
    began = _stat(pid)[19]

    def read() -> float:
        if _stat(pid)[19] != began:
            raise ProcessLookupError(f"process {pid} has ended, and another has its number")
        return sum(_ticks(each) for each in _tree(pid)) / per_second

    return read


def _stat(pid: int) -> list[str]:
    """Return the fields after the process's name, which may hold spaces and brackets itself."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _ticks(pid: int) -> int:
    try:
        return sum(map(int, _stat(pid)[11:15]))  # its own, and those of children that have ended
    except OSError:  # ended since it was listed
        return 0


def _tree(pid: int) -> list[int]:
    """Return a process, its children, theirs, and so on."""
    tree = [pid]
    for each in tree:  # grows while it is walked
        for children in (PROC / str(each) / "task").glob("*/children"):
            try:
                tree += map(int, children.read_text().split())
            except OSError:  # the thread has ended since
                continue
    return tree
