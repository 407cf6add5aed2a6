"""Planted defects: cores that break one rule each, to show that the checkers can fail."""

from __future__ import annotations

from typing import Any

from fastvrrp import _core
from fastvrrp._core import Core


def whole(data: bytes, **how: Any) -> bool:
    """Whether it is an advert that a router may believe."""
    code, _ = _core.decode_advert(data, source=how["source"], destination=how["destination"])
    return code == 0 and how["ttl"] == 255


class IgnoresPriorityZero(Core):
    """A backup that does not hurry when the master stops."""

    def packet(self, data: bytes, **how: Any) -> Any:
        if whole(data, **how) and data[2] == 0:
            return 0, []
        return super().packet(data, **how)


class NeverYields(Core):
    """A master that does not hear its betters."""

    def packet(self, data: bytes, **how: Any) -> Any:
        if whole(data, **how) and any(self._master(slot) for slot in range(8)):
            return 0, []
        return super().packet(data, **how)

    def _master(self, slot: int) -> bool:
        try:
            return self.status(slot).state == _core.MASTER
        except KeyError:
            return False


class Filtered(Core):
    """Drops or changes actions on their way out."""

    def keep(self, action: tuple[Any, ...]) -> bool:
        return True

    def only(self, actions: list[Any]) -> list[Any]:
        return [a for a in actions if self.keep(a)]

    def commit(self, *a: Any, **k: Any) -> Any:
        return self.only(super().commit(*a, **k))

    def tick(self, *a: Any, **k: Any) -> Any:
        return self.only(super().tick(*a, **k))

    def link(self, *a: Any, **k: Any) -> Any:
        return self.only(super().link(*a, **k))

    def fault(self, *a: Any, **k: Any) -> Any:
        return self.only(super().fault(*a, **k))

    def stop(self, *a: Any, **k: Any) -> Any:
        return self.only(super().stop(*a, **k))

    def played(self, *a: Any, **k: Any) -> Any:
        return self.only(super().played(*a, **k))

    def packet(self, *a: Any, **k: Any) -> Any:
        code, actions = super().packet(*a, **k)
        return code, self.only(actions)


class NeverAnnounces(Filtered):
    def keep(self, action: tuple[Any, ...]) -> bool:
        return bool(action[0] != "announce")


class WinnerIsSilent(Filtered):
    """Announces when it becomes master, but not after a contention that it won."""

    def only(self, actions: list[Any]) -> list[Any]:
        if any(won(action) for action in actions):
            return [a for a in actions if a[0] != "announce"]
        return actions


def won(action: tuple[Any, ...]) -> bool:
    """The end of a contention that this router won."""
    if action[0] != "event" or action[1].kind != _core.EV_DUAL_MASTER:
        return False
    return (action[1].a, action[1].b) == (0, 1)


class KeepsAddresses(Filtered):
    """Leaves MASTER and keeps the addresses."""

    def keep(self, action: tuple[Any, ...]) -> bool:
        return not (action[0] == "play" and action[2] == _core.P_DOWN)


class AnnouncesTooEarly(Filtered):
    """Announces before the kernel has the address."""

    def only(self, actions: list[Any]) -> list[Any]:
        early = [
            ("announce", a[1], 5, False) for a in actions if a[0] == "play" and a[2] == _core.P_UP
        ]
        plays = [a for a in actions if a[0] != "play" or not early]
        return early + plays if early else actions


class NoGoodbye(Filtered):
    """Leaves without priority 0."""

    def keep(self, action: tuple[Any, ...]) -> bool:
        return not (action[0] == "tx" and action[2] == 0)


class FallsSilent(Filtered):
    """A master that stops advertising after a while."""

    def __init__(self, **sizes: Any) -> None:
        self.adverts = 0

    def keep(self, action: tuple[Any, ...]) -> bool:
        self.adverts += action[0] == "tx"
        return not (action[0] == "tx" and self.adverts > 20)


class SpeaksAsBackup(Filtered):
    """Advertises without being master."""

    def packet(self, *a: Any, **k: Any) -> Any:
        code, actions = super().packet(*a, **k)
        if code == 0:
            actions = [*actions, ("tx", 0, 77)]
        return code, actions


class AnswersEverything(Core):
    """A hundred adverts for each one heard."""

    def packet(self, *a: Any, **k: Any) -> Any:
        code, actions = super().packet(*a, **k)
        if any(entry[0] == "tx" for entry in actions):
            actions = actions * 100
        return code, actions


class Sleeps(Core):
    """Never wakes by itself: deadlines pass."""

    def tick(self, now_ns: int) -> Any:
        return []


class Random(Core):
    """Not a function of its inputs."""

    lives = 0

    def fingerprint(self) -> int:
        Random.lives += 1
        return Random.lives
