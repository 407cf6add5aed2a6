"""`--config-test`: checks a configuration, and ends with the code that keepalived would.

0  it can be run as it is, perhaps with warnings
2  a mandatory argument is missing
4  the file is not there
5  other errors
6  scripts are configured without enable_script_security (counts more than 4 and 5)
"""

from __future__ import annotations

import sys
from pathlib import Path

from fastvrrp.config.context import NEEDS
from fastvrrp.config.include import matching
from fastvrrp.config.load import load
from fastvrrp.config.model import Loaded
from fastvrrp.config.scripts import WITHOUT_SECURITY
from fastvrrp.supervisor.reading import Wanted

OK, MISSING_ARGUMENT, NOT_THERE, ERRORS, INSECURE = 0, 2, 4, 5, 6


def run(wanted: Wanted, log_file: str | None) -> int:
    """Check; the messages go to stderr or, appended, to a file. Raises OSError for that one."""
    loaded = load(
        wanted.file,
        config_id=wanted.config_id,
        net_namespace=wanted.net_namespace,
        strict_includes=wanted.strict_includes,
    )
    text = "".join(f"{message}\n" for message in loaded.messages)
    if log_file is None:
        sys.stderr.write(text.encode(errors="backslashreplace").decode())
    else:
        with Path(log_file).open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
    return code(loaded, wanted.file)


def code(loaded: Loaded, file: Path) -> int:
    """keepalived's exit code for what was found."""
    if any(message.text.endswith(NEEDS) for message in loaded.errors):
        return MISSING_ARGUMENT
    if any(message.text == WITHOUT_SECURITY for message in loaded.messages):
        return INSECURE
    if not any(match.exists() for match in matching(file)):
        return NOT_THERE
    return ERRORS if loaded.errors else OK
