"""Faults and bad input, caused on purpose: `make faults` runs every case at length and prints a table of them.

A case is a function (count, folder) -> Result: it tries `count` times what its name says, in an empty folder of its
own, and tells of each try whether the promise held. `table.py` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Result:
    """How often a fault was caused, how often the promise held, and in words where it did not.

    note: what else there is to know of the case, such as what cannot be tried here and why.
    """

    tried: int = 0
    survived: int = 0
    note: str = ""
    lost: list[str] = field(default_factory=list)

    def count(self, *failures: str | bool) -> None:
        """One try: it survived unless one of `failures` (False and "" are none) says what went wrong."""
        said = "; ".join(str(failure) for failure in failures if failure)
        self.tried += 1
        self.survived += not said
        if said:
            self.lost.append(said)
