"""The table without a kernel does what every table does."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("table_contract")
from table_contract import TableContract  # noqa: E402

from fastvrrp.ipvs.memory_table import MemoryTable  # noqa: E402


class TestMemoryTable(TableContract):
    @pytest.fixture
    def table(self) -> MemoryTable:
        return MemoryTable()
