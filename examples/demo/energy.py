"""What the demo's calls take in energy: meters of the machine, or of each server, in; Wh out."""

from collections.abc import Iterable

from shared_core.accounting.energy.meters import Meter, measured, nvml, rapl
from shared_core.errors import ConfigurationError

WH = 3600.0  # joules


def meter_of(pid: int, watts: float) -> Meter:
    """Returns what measures a server: the machine's counters, else its CPU-seconds x watts.

    Args:
        pid: The server's process.
        watts: What a busy core draws, where no counter can be read: declared, not measured.
    """
    try:
        return measured(watts, pid=pid)
    except ConfigurationError:  # no /proc, so not Linux: the whole machine while it answers
        return measured(watts)


def machine_meter() -> Meter | None:
    """Returns the machine's own counters where they can be read: one for all that runs on it."""
    return measured() if rapl() or nvml() else None


class Wattmeter:
    """The energy of one call after the other: what all meters together count meanwhile."""

    def __init__(self, meters: Iterable[Meter | None]) -> None:
        given = list(meters)
        self._meters = list({id(m): m for m in given if m is not None}.values())
        self.complete = all(m is not None for m in given)

    @property
    def method(self) -> str:
        """How it is known."""
        return " + ".join(dict.fromkeys(meter.method for meter in self._meters))

    def wh(self) -> float:
        """Wh so far."""
        return sum(meter.joules() for meter in self._meters) / WH
