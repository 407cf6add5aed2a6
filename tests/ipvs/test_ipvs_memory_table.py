"""The table without a kernel does what every table does."""

from __future__ import annotations

import pytest
from table_contract import TableContract

from fastvrrp.ipvs.memory_table import MemoryTable


class TestMemoryTable(TableContract):
    @pytest.fixture
    def table(self) -> MemoryTable:
        return MemoryTable()
