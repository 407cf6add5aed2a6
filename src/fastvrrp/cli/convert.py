"""`fastvrrp convert`: a keepalived.conf as YAML, and YAML as a keepalived.conf."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

DESCRIPTION = """\
Writes a configuration in the other format to the standard output.

Includes, definitions and repetitions are resolved into one file; what many blocks have in common
becomes defaults and templates. Comments stay beside what they are about. The result is read back
and must mean the same. What cannot be converted is named with its line on the standard error.

exit status:
  0  converted, and both mean the same
  1  the file has errors, or something of it is not in the result
  2  the command line is wrong"""

EXAMPLES = (
    "fastvrrp convert /etc/keepalived/keepalived.conf --to yaml > /etc/fastvrrp/fastvrrp.yaml",
    "fastvrrp convert fastvrrp.yaml --to keepalived             # the way back",
    "fastvrrp convert pair.conf --to yaml --config-id r1        # what is for r1",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="configuration of one router")
    parser.add_argument(
        "--to", required=True, choices=("yaml", "keepalived"), help="the format to write"
    )
    parser.add_argument(
        "--config-id",
        metavar="ID",
        help="apply the lines of @ID (default: the host name up to its first dot)",
    )


def run(args: argparse.Namespace) -> int:
    """Convert the file of the command line; returns the exit status."""
    from fastvrrp.config.convert import convert

    result = convert(args.file, args.to, config_id=args.config_id)
    sys.stdout.write(result.text)
    left_out = False
    for message in result.messages:
        left_out |= message.text.startswith("not converted")
        print(message, file=sys.stderr)
    if result.difference:
        text = f"fastvrrp: the result does not mean the same: {result.difference}"
        print(text, file=sys.stderr)
    return 1 if result.difference or left_out or not result.is_valid else 0
