"""What `--version` and `--signum` print: read by exporters and configuration management."""

from __future__ import annotations

import platform
import signal

from fastvrrp import __version__

KEEPALIVED = "2.2.8"
"""The release whose dump files and command line these are."""
FEATURES = "NFTABLES LVS REGEX VRRP VRRP_AUTH JSON INIT=systemd SYSTEMD_NOTIFY FILE_LOGGING"

SIGNALS = {
    "STOP": signal.SIGTERM,
    "RELOAD": signal.SIGHUP,
    "DATA": signal.SIGUSR1,
    "STATS": signal.SIGUSR2,
    "STATS_CLEAR": signal.SIGRTMAX - 1,
    "JSON": signal.SIGRTMIN + 2,
}


def text() -> str:
    """Programs read the first line up to the bracket, and words of the line with the options."""
    system = platform.uname()
    return (
        f"Keepalived v{KEEPALIVED} (fastvrrp {__version__})\n\n"
        "fastvrrp with keepalived's command line; it is not keepalived.\n"
        f"Running on {system.system} {system.release} {system.version}\n\n"
        f"Config options:  {FEATURES}\n"
    )
