"""Rows of a result, printed one by one: as CSV, or with tabs for people."""

import csv
import sys
from collections.abc import Sequence

from seriatim.errors import ConfigError


def check_form(*, csv: bool, json: bool) -> None:
    """
    Raises:
        ConfigError: if both were asked for.
    """
    if csv and json:
        raise ConfigError("--csv and --json were given: give one of them")


class RowPrinter:
    """Prints rows as CSV, or with tabs for people."""

    def __init__(self, columns: Sequence[str], *, is_csv: bool) -> None:
        self._columns, self._is_csv = columns, is_csv
        self._writer = csv.writer(sys.stdout, lineterminator="\n")

    def head(self, *, is_shown: bool = True) -> None:
        """The names of the columns."""
        if is_shown and self._is_csv:
            self._writer.writerow(self._columns)
        elif is_shown:
            print("\t".join(name.replace("_", " ") for name in self._columns))

    def row(self, cells: Sequence[object]) -> None:
        """One row."""
        from seriatim.tasks.record_table import csv_cells, tabbed

        if self._is_csv:
            self._writer.writerow(csv_cells(cells))
        else:
            print(tabbed(cells))
