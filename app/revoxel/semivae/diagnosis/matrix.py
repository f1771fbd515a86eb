"""A small table of numbers whose rows and columns have names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class NamedMatrix:
    """Numbers by name.

    Args:
        rows: Names of the rows.
        columns: Names of the columns.
        values: `(row, column)`.

    Raises:
        ValueError: If the names do not fit the values.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Refuse names that do not fit."""
        if self.values.shape != (len(self.rows), len(self.columns)):
            msg = (
                f"values must be ({len(self.rows)}, {len(self.columns)}), got {self.values.shape}; "
                "name every row and column."
            )
            raise ValueError(msg)

    def at(self, row: str, column: str) -> float:
        """One number.

        Args:
            row: Name.
            column: Name.
        """
        return float(self.values[self.rows.index(row), self.columns.index(column)])

    def own(self) -> dict[str, float]:
        """Numbers of a row and the column of the same name."""
        return {name: self.at(name, name) for name in self.rows if name in self.columns}

    def others(self) -> dict[str, float]:
        """Numbers of a row and a column of another name, as `row->column`."""
        return {
            f"{row}->{column}": self.at(row, column)
            for row in self.rows
            for column in self.columns
            if row != column
        }

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Plain numbers for JSON and tables: row, then column."""
        return {row: {column: self.at(row, column) for column in self.columns} for row in self.rows}
