"""Event loops for the tests of the load balancer; its tools tell what they found as tests do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("table_contract", "fake_kernel")
from looping import run as run  # noqa: E402
