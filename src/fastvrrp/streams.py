"""Standard streams for a program that was started without some of them."""

from __future__ import annotations

import os
import sys


def complete() -> None:
    """Have descriptors 0 to 2 open, on /dev/null where nothing else is there.

    Otherwise what is opened next gets such a number: a socket would be closed in the next process
    to make room for its standard input, or be written into by whatever complains.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            stream = open(number, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115 (a descriptor, for good)
            setattr(sys, name, stream)
