"""use_vmac [[name] IFNAME] [MAC] [netlink_notify_msg] [group ID]."""

from __future__ import annotations

import re

from fastvrrp.config import lookups
from fastvrrp.config.blocks import Entries
from fastvrrp.config.context import Context
from fastvrrp.config.model import Vmac
from fastvrrp.config.values import interface_name

_MAC = re.compile(r"([0-9a-fA-F]{1,2}:){4,5}[0-9a-fA-F]{1,2}$")


def read_vmac(context: Context, entries: Entries) -> Vmac:
    """The words of use_vmac in any order, and vmac_xmit_base."""
    node = entries["use_vmac"].node
    words = node.words
    name = address = group = None
    index = 1
    while index < len(words):
        word = words[index]
        if word in ("name", "group") and index + 1 < len(words):
            index += 1
            if word == "group":
                group = lookups.named(context, node, index, "group", "link group", lookups.U32_MAX)
            elif interface_name(context, node, words[index], word=index):
                name = words[index]
        elif _MAC.match(word):
            address = word.lower()
        elif word != "netlink_notify_msg":
            if name is not None:
                context.unknown(node, "option", ("name", "group"), word=index)
            elif interface_name(context, node, word, word=index):
                name = word
        index += 1
    return Vmac(name=name, address=address, group=group, xmit_base="vmac_xmit_base" in entries)
