"""The kernel's table does what every table does."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("table_contract")
from table_contract import TableContract  # noqa: E402


class TestNetlinkTable(TableContract):
    """`table` is the guest's fixture."""
