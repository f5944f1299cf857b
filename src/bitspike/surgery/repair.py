"""What surgery reads of a planned repair."""

from __future__ import annotations

from typing import Protocol


class Repair(Protocol):
    """One change of one layer; ``bitspike.hardware.chips.plan_repairs.Repair`` is one and explains the fields."""

    @property
    def path(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def bits(self) -> int: ...
    @property
    def groups(self) -> int: ...
    @property
    def keep(self) -> tuple[int, ...]: ...
    @property
    def parts(self) -> int: ...
    @property
    def source_shape(self) -> tuple[int, ...]: ...
