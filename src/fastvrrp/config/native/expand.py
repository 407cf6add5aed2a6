"""A hundred blocks out of ten lines: defaults, templates, `for`, and parts for one node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf

from fastvrrp.config.diagnostics import shown, suggestion
from fastvrrp.config.native.document import Mapping, Pair, Scalar, Sequence, Yaml
from fastvrrp.config.native.shapes import Wrong

BLOCKS_MAX = 100_000  # that one `for` makes
TEMPLATE, FOR = "template", "for"
NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"<({NAME})([+-][0-9]{{1,9}})?>")
_RANGE = re.compile(r"(-?[0-9]{1,9})\.\.(-?[0-9]{1,9})")

Pairs = dict[str, Pair]


def overlaid(below: Pairs, above: Pairs) -> Pairs:
    """`above` counts; mappings that both have are put together in the same way."""
    merged = {**below, **above}
    for name in below.keys() & above.keys():
        low, high = below[name].value, above[name].value
        if isinstance(low, Mapping) and isinstance(high, Mapping):
            inner = Mapping(high.file, high.line, high.column, overlaid(low.pairs, high.pairs))
            merged[name] = Pair(above[name].key, inner)
    return merged


class Presets:
    """defaults and templates of all files, by section.

    asked  names of what was looked up, for `meaning`, since somebody emptied it
    """

    def __init__(self) -> None:
        self.defaults: dict[str, Pairs] = {}
        self.templates: dict[str, Pairs] = {}
        self.used: set[tuple[str, str]] = set()
        self.asked: set[str] = set()
        self._meanings: dict[tuple[str, ...], str] = {}

    def merged(self, section: str, own: Pairs, further: Pairs | None = None) -> Pairs:
        """A block with what it takes from defaults and templates. Raises Wrong.

        `further` are defaults that stand nearer than those of the whole section.
        """
        self.asked.add(section)
        below = self.defaults.get(section, {})
        if further:
            below = overlaid(below, further)
        if TEMPLATE in own:
            named = own[TEMPLATE].value
            own = {name: pair for name, pair in own.items() if name != TEMPLATE}
            for template in self._named(section, named, ()):
                below = overlaid(below, template)
        return overlaid(below, own) if below else own

    def _named(self, section: str, node: Yaml, inside: tuple[str, ...]) -> Iterator[Pairs]:
        """The templates that a `template:` names, those that they name before them."""
        known = self.templates.get(section, {})
        for item in node.items if isinstance(node, Sequence) else [node]:
            if not isinstance(item, Scalar):
                raise Wrong(item, "write the name of a template, or [NAME, NAME]")
            name = item.text
            found = known.get(name)
            if found is None:
                hint = suggestion(name, known) or f"write it to templates: {section}: {name}:"
                raise Wrong(item, hint, text=f"there is no template {shown(name)} for {section}")
            if name in inside:
                text = f"the template {shown(name)} uses itself"
                raise Wrong(item, "break the circle", text=text)
            if not isinstance(found.value, Mapping):
                raise Wrong(found.value, "write KEY: VALUE lines")
            self.used.add((section, name))
            self.asked.add(f"{section}\n{name}")
            pairs = found.value.pairs
            if TEMPLATE in pairs:
                yield from self._named(section, pairs[TEMPLATE].value, (*inside, name))
            yield {key: pair for key, pair in pairs.items() if key != TEMPLATE}

    def meaning(self, names: tuple[str, ...]) -> str:
        """Equal if these names, of `asked`, mean the same. Only when all files have been read."""
        found = self._meanings.get(names)
        if found is None:
            meant = [(name, _plain(self._named_so(name))) for name in names]
            found = self._meanings[names] = repr(meant)
        return found

    def _named_so(self, asked: str) -> Yaml | None:
        section, _, template = asked.partition("\n")
        if template:
            found = self.templates.get(section, {}).get(template)
            return None if found is None else found.value
        return Mapping("", 0, 0, self.defaults.get(section, {}))

    def use(self, names: tuple[str, ...]) -> None:
        """Blocks that are not read use what has these names."""
        for name in names:
            section, _, template = name.partition("\n")
            if template:
                self.used.add((section, template))

    def lines(self) -> set[tuple[str, int]]:
        """All of them, with their file."""
        found: set[tuple[str, int]] = set()
        for pairs in (*self.defaults.values(), *self.templates.values()):
            _add_lines(Mapping("", 0, 0, pairs), found)
        return found

    def unused(self) -> Iterator[tuple[str, Scalar]]:
        for section, templates in self.templates.items():
            for name, pair in templates.items():
                if (section, name) not in self.used:
                    yield section, pair.key


def _plain(node: Yaml | None) -> object:
    """A tree without its places."""
    if isinstance(node, Sequence):
        return [_plain(item) for item in node.items]
    if isinstance(node, Mapping):
        return {name: _plain(value) for name, (_, value) in node.pairs.items()}
    return None if node is None else (node.text, node.is_plain)


def _add_lines(node: Yaml, found: set[tuple[str, int]]) -> None:
    found.add((node.file, node.line))
    if isinstance(node, Sequence):
        for item in node.items:
            _add_lines(item, found)
    elif isinstance(node, Mapping):
        for key, value in node.pairs.values():
            found.add((key.file, key.line))
            _add_lines(value, found)


def repeated(name: Scalar, pairs: Pairs) -> Iterator[tuple[Scalar, Pairs]]:
    """The block, or each that its `for` makes of it. Raises Wrong."""
    loop = pairs.get(FOR)
    if loop is None:
        yield name, pairs
        return
    rest = {key: pair for key, pair in pairs.items() if key != FOR}
    for values in _rows(loop.value):
        made = substituted(Mapping(name.file, name.line, name.column, rest), values)
        called = substituted(name, values)
        assert isinstance(made, Mapping)
        assert isinstance(called, Scalar)
        yield called, made.pairs


def _rows(node: Yaml) -> Iterator[dict[str, str]]:
    want = "write {n: 1..100} or {n: [a, b, c]}"
    if not isinstance(node, Mapping) or not node.pairs:
        raise Wrong(node, want)
    columns: dict[str, SequenceOf[str]] = {}
    for name, (key, value) in node.pairs.items():
        if not re.fullmatch(NAME, name):
            text = f"{shown(name)} is no name of a variable"
            raise Wrong(key, "write letters, digits and _", text=text)
        columns[name] = _column(value, want)
    counts = {len(values) for values in columns.values()}
    if len(counts) > 1:
        text = "the variables of a for do not have equally many values"
        raise Wrong(node, "they count together: write as many for each", text=text)
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def _column(node: Yaml, want: str) -> SequenceOf[str]:
    if isinstance(node, Sequence):
        found = [item.text for item in node.items if isinstance(item, Scalar)]
        if len(found) != len(node.items) or not found:
            raise Wrong(node, want)
        return found
    match = _RANGE.fullmatch(node.text) if isinstance(node, Scalar) else None
    if match is None:
        raise Wrong(node, want)
    first, last = int(match[1]), int(match[2])
    if abs(last - first) >= BLOCKS_MAX:
        raise Wrong(node, "make fewer", f"makes more than {BLOCKS_MAX} blocks")
    step = 1 if last >= first else -1
    return [str(number) for number in range(first, last + step, step)]


def has_variable(node: Yaml) -> bool:
    """Whether anything in it waits for a `for`."""
    if isinstance(node, Sequence):
        return any(has_variable(item) for item in node.items)
    if isinstance(node, Mapping):
        return any(has_variable(key) or has_variable(value) for key, value in node.pairs.values())
    return "<" in node.text and _VARIABLE.search(node.text) is not None


def substituted(node: Yaml, values: dict[str, str]) -> Yaml:
    """A copy with <n> and <n+10> replaced; other variables stay for another `for`."""
    if isinstance(node, Sequence):
        items = [substituted(item, values) for item in node.items]
        return Sequence(node.file, node.line, node.column, items)
    if isinstance(node, Mapping):
        pairs = {}
        for key, value in node.pairs.values():
            new = substituted(key, values)
            assert isinstance(new, Scalar)
            pairs[new.text] = Pair(new, substituted(value, values))
        return Mapping(node.file, node.line, node.column, pairs)
    if "<" not in node.text:
        return node

    def replaced(match: re.Match[str]) -> str:
        value = values.get(match[1])
        if value is None:
            return match[0]
        if not match[2]:
            return value
        try:
            return str(int(value) + int(match[2]))
        except ValueError:
            text = f"{match[0]}: {shown(value)} is no number"
            raise Wrong(node, "write <NAME>", text=text) from None

    text = _VARIABLE.sub(replaced, node.text)
    if text == node.text:
        return node
    made = Scalar(text, node.file, node.line, node.column)
    made.is_plain = node.is_plain or made.is_integer
    return made
