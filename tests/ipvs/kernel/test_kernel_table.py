"""The kernel's table does what every table does."""

from __future__ import annotations

from table_contract import TableContract


class TestNetlinkTable(TableContract):
    """`table` is the guest's fixture."""
