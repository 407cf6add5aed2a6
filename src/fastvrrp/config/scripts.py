"""Commands: reading them, and keepalived's checks of what may run as whom.

The rules are keepalived's: a program must exist and be executable by its account, or it is taken
out of the configuration; one that runs as root must not be replaceable by anybody else, which is
a warning, and with enable_script_security takes it out too.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import msgspec

from fastvrrp.config.context import Context
from fastvrrp.config.diagnostics import shown
from fastvrrp.config.keywords import Keyword
from fastvrrp.config.model import Account, Command, Fifo
from fastvrrp.config.node import Node
from fastvrrp.config.shellwords import UnclosedQuote, split

WITHOUT_SECURITY = "scripts are run without enable_script_security"
DEFAULT_USER = "keepalived_script"


class Draft:
    """A command as written; what becomes of it is known once all global settings are."""

    __slots__ = ("account", "argv", "bad_account", "keyword", "node")

    def __init__(self, node: Node, keyword: str, argv: list[str]) -> None:
        self.node = node
        self.keyword = keyword
        self.argv = argv
        self.account: Account | None = None
        self.bad_account = False


def read_account(context: Context, node: Node, words: Sequence[str], first: int) -> Account | None:
    """USER [[:]GROUP], words `first` and following of the statement; says what is wrong."""
    asks = context.asks
    account, missing = _account(context, words)
    if account is not None:
        context.accounts.add(tuple(words))
        context.asks = asks  # they will be looked up again
        return account
    kind = ("user", "group")[missing]
    name = words[missing].removeprefix(":") if missing else words[0]
    context.warning(
        node,
        f"there is no {kind} {shown(name)}",
        f"create the {kind} or name another one",
        word=first + missing,
    )
    return None


def _account(context: Context, words: Sequence[str]) -> tuple[Account | None, int]:
    """The account, or None and the number of the word that means nothing."""
    account = context.host.user(words[0])
    if account is None:
        return None, 0
    if len(words) > 1:
        gid = context.host.group(words[1].removeprefix(":"))
        if gid is None:
            return None, 1
        account = Account(user=account.user, uid=account.uid, gid=gid)
        if words[1].startswith(":"):
            account = with_groups(context, account)
    return account, 0


def with_groups(context: Context, account: Account) -> Account:
    """The account with all groups that its user belongs to."""
    groups = context.host.groups_of(account.user, account.gid)
    return msgspec.structs.replace(account, groups=groups)


def account_reader(context: Context, node: Node, keyword: Keyword) -> Account | bool | None:
    """`user`, `script_user`. False: given, but there is no such account."""
    words = node.words[1:]
    if not words:
        context.missing(node, keyword)
        return None
    if len(words) > 2:
        context.extra(node, 3)
    return read_account(context, node, words[:2], 1) or False


def _split(context: Context, node: Node, text: str) -> list[str] | None:
    """Shell-like words; None if a quote is never closed, which has been said."""
    try:
        return split(text)
    except UnclosedQuote as error:
        context.error(node, f"a quote {error} is never closed", "close it on this line", word=1)
        return None


def command_reader(context: Context, node: Node, keyword: Keyword) -> Draft | None:
    """CMD [USER [GROUP]]."""
    outer = _split(context, node, node.tail())
    argv = _split(context, node, outer[0]) if outer else outer
    if outer is None or argv is None:
        return None
    if not argv or not argv[0]:
        context.missing(node, keyword)
        return None
    draft = Draft(node, keyword.keyword, argv)
    rest = outer[1:]
    if rest and keyword.keyword in ("script", "misc_path"):
        context.warning(
            node,
            f"{keyword.keyword} takes one word, the others are ignored",
            "put the command and its arguments into quotes",
            word=2,
        )
        return draft
    if len(rest) > 2:
        context.extra(node, 4)
    if rest:
        draft.account = read_account(context, node, rest[:2], 2)
        draft.bad_account = draft.account is None
    return draft


def optional_command_reader(context: Context, node: Node, keyword: Keyword) -> Draft | bool | None:
    """True without a command."""
    return True if len(node.words) == 1 else command_reader(context, node, keyword)


def text_reader(context: Context, node: Node, keyword: Keyword) -> str | None:
    """A pattern: one shell-like word."""
    if len(node.words) < 2:
        context.missing(node, keyword)
        return None
    words = _split(context, node, node.tail())
    return None if words is None else words[0] if words else ""


def fifo_reader(context: Context, node: Node, keyword: Keyword) -> Fifo | None:
    """PATH [USER [GROUP]]."""
    words = node.words[1:]
    if not words:
        context.missing(node, keyword)
        return None
    if len(words) > 3:
        context.extra(node, 4)
    path = words[0]
    if not path.startswith("/"):
        if node.is_native or not path.removeprefix("./"):
            context.error(node, f"{keyword.keyword} needs an absolute path", "write /...", word=1)
            return None
        path = f"/{path.removeprefix('./')}"  # where keepalived stands, as service or daemon
        text = f"{keyword.keyword} is not an absolute path, {path} is used"
        context.warning(node, text, f"write {path}", word=1)
    account = read_account(context, node, words[1:3], 2) if len(words) > 1 else None
    return Fifo(path=path, account=account)


class Scripts:
    """Turns drafts into commands; `default` is the account of those that name none."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.security = False
        self.supplementary = False  # set_supplementary_groups
        self.account: Account | None = None  # script_user
        self._default: Account | None = None
        self._no_default = False
        self._warned = False
        self._verdicts: dict[tuple[str, Account], tuple[str, bool]] = {}

    def settle(self) -> Account | None:
        """All global settings are known: the default account, None for the daemon's own."""
        host = self._context.host
        account = self._complete(self.account or host.user(DEFAULT_USER))
        self._no_default = account is None and self.security
        self._default = account or host.daemon()
        return account

    def _complete(self, account: Account | None) -> Account | None:
        """With the groups that set_supplementary_groups gives it."""
        if account is None or not self.supplementary or account.groups:
            return account
        return with_groups(self._context, account)

    def command(self, draft: Draft | None, account: Account | None = None) -> Command | None:
        """The command, or None with a warning if it cannot or must not run."""
        if draft is None:
            return None
        context = self._context
        asks, said = context.asks, context.diagnostics.count
        command = self._command(draft, account)
        is_silent = command is not None and context.diagnostics.count == said
        if command is not None and is_silent:
            context.programs.add((command.argv[0], command.account))
            context.asks = asks  # `still_run` will ask the same of the machine
        return command

    @property
    def has_warned(self) -> bool:
        """Whether nothing more is to be said of security, which is said once."""
        return self.security or self._warned

    @property
    def ground(self) -> str:
        """What decides about commands beside the machine's files and accounts."""
        return repr((self.security, self.supplementary, self._default, self._no_default))

    def accounts_of(self, words: Sequence[str]) -> tuple[Account, Account] | None:
        """The account that is written so, alone and with what settings add; None: there is none."""
        account, _ = _account(self._context, words)
        completed = self._complete(account)
        return None if account is None or completed is None else (account, completed)

    def still_run(self, programs: Iterable[tuple[str, Account | None]]) -> bool:
        """Whether there would be nothing to say of these either."""
        default = self._default or self._context.host.daemon()
        return all(self._verdict(path, own or default) == ("", False) for path, own in programs)

    def _command(self, draft: Draft, account: Account | None) -> Command | None:
        context, node = self._context, draft.node
        context.asks += 1
        account = self._complete(draft.account or account)
        if draft.bad_account:
            context.warning(
                node, f"{draft.keyword} is not run: its account does not exist", "", word=1
            )
            return None
        if self._no_default and account is None:
            context.warning(
                node,
                f"{draft.keyword} is not run: no account for scripts is set",
                f"set script_user, or create the user {DEFAULT_USER}",
                word=1,
            )
            return None
        argv = self._program(draft)
        if argv is None:
            return None
        problem, fatal = self._verdict(argv[0], account or self._default or context.host.daemon())
        if fatal:
            context.warning(
                node,
                f"{draft.keyword} is not run: {problem}",
                "correct it; the rest of the configuration works without",
                word=1,
            )
            return None
        if problem:
            context.warning(
                node,
                f"{draft.keyword}: {problem}",
                "only its owner should be able to write what is run"
                if problem.startswith("everybody")
                else "only root should be able to write what runs as root",
                word=1,
            )
        if not self.security and not self._warned:
            self._warned = True
            context.warning(
                node,
                WITHOUT_SECURITY,
                "set it in global_defs, so that nobody can replace what runs as root",
            )
        return Command(argv=tuple(argv), account=account, position=node.position(1))

    def _program(self, draft: Draft) -> list[str] | None:
        """The arguments with a full path in front."""
        context, node, argv = self._context, draft.node, draft.argv
        name = argv[0]
        if name.startswith("<"):
            test = context.host.find("test") or "/usr/bin/test"
            context.warning(
                node,
                f"{draft.keyword}: {shown(name)} is an old way to test for a file",
                f'write "{test} -r {name[1:]}"',
                word=1,
            )
            return [test, "-r", name[1:]]
        if name.startswith("/"):
            return argv
        found = None if "/" in name else context.host.find(name)
        if found is None:
            context.warning(
                node,
                f"{draft.keyword} is not run: {shown(name)} is not found",
                "write the full path of the program",
                word=1,
            )
            return None
        context.warning(
            node,
            f"{draft.keyword}: {shown(name)} is looked up in PATH",
            f"write {found}",
            word=1,
        )
        return [found, *argv[1:]]

    def _verdict(self, path: str, account: Account) -> tuple[str, bool]:
        """What is wrong with running `path` as `account`, and whether it prevents it."""
        key = (path, account)
        if key not in self._verdicts:
            self._verdicts[key] = self._examine(path, account)
        return self._verdicts[key]

    def _examine(self, path: str, account: Account) -> tuple[str, bool]:
        host = self._context.host
        info = host.file(path)
        if info is None:
            return f"{shown(path)} does not exist", True
        if not stat.S_ISREG(info.mode):
            return f"{shown(path)} is not a file", True
        if account.uid == 0:
            executable = info.mode & 0o111
        elif account.uid == info.uid:
            executable = info.mode & stat.S_IXUSR
        elif info.gid in (account.gid, *account.groups):
            executable = info.mode & stat.S_IXGRP
        else:
            executable = info.mode & stat.S_IXOTH
        if not executable:
            return f"{account.user} may not execute {shown(path)}", True
        set_root = (info.mode & stat.S_ISUID and info.uid == 0) or (
            info.mode & stat.S_ISGID and info.gid == 0
        )
        if account.uid == 0 or 0 in (account.gid, *account.groups) or set_root:
            weak = self._weak_element(path) or self._weak_element(host.real_path(path))
            if weak:
                return f"others than root can replace {shown(weak)}", self.security
        elif info.mode & stat.S_IWOTH:
            return f"everybody can write {shown(path)}", False
        return "", False

    def _weak_element(self, path: str) -> str:
        """The first element of a path that somebody else than root can write, or ""."""
        pure = PurePosixPath(path)
        for element in (*reversed(pure.parents), pure):
            info = self._context.host.file(str(element))
            if info is None:
                continue
            if stat.S_ISDIR(info.mode) and info.mode & stat.S_ISVTX:
                continue
            by_group = info.mode & stat.S_IWGRP and info.gid != 0
            if info.uid != 0 or by_group or info.mode & stat.S_IWOTH:
                return str(element)
        return ""
