"""The line that each test of a promise prints."""

from dataclasses import dataclass


@dataclass
class Summary:
    """Counts of one test, and `note`, a few words behind them."""

    name: str
    attempts: int = 0
    survivors: int = 0
    expected: int = 0
    found: int = 0
    note: str = ""

    def show(self, capsys):
        with capsys.disabled():
            print(
                f"\n{self.name}: attempts {self.attempts}, survivors {self.survivors}, "
                f"records expected {self.expected}, records found {self.found}{self.note}"
            )
