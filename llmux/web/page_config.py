"""The configuration in force on the status page, from the values themselves and never from the file's text.

It is written as the file would be, with every key that has a value, in the file's own words where they are known.
What differs from the default stands out. A credential is a `Secret`, whose text is masked; so are the values of extra
headers, which may be credentials as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from html import escape
from typing import Any, NamedTuple

from llmux.config.model import Config
from llmux.config.secret import Secret, mask

# Told elsewhere on the page, or of no use to people.
_LEFT_OUT = frozenset(("line", "path", "digest", "warnings"))
_MASKED = frozenset(("headers",))
# Where the file's key is not the name that the program has for it.
_WORDS = {"source": "from", "targets": "to"}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@*+")


class Line(NamedTuple):
    """One line: how deep it is indented, its text, and whether it says what would hold anyway."""

    depth: int
    text: str
    default: bool


def configuration(config: Config) -> str:
    """The configuration as preformatted text, masked."""
    written = "".join(
        f"<span{' class=default' if line.default else ''}>{'  ' * line.depth}{escape(line.text)}</span>\n"
        for line in lines(config)
    )
    return f'<pre class="config" id="settings" tabindex="0">{written}</pre>'


def lines(config: Config) -> list[Line]:
    """The lines of a configuration."""
    return list(_members(config, 0))


def _members(value: Any, depth: int) -> Iterator[Line]:
    for each in fields(value):
        if each.name in _LEFT_OUT:
            continue
        held = getattr(value, each.name)
        if held is None or held == "":
            continue
        if each.name in _MASKED:
            held = {name: mask(text) for name, text in held}
        elif isinstance(held, Mapping):
            held = {_kebab(name): inner for name, inner in held.items()}
        yield from _entry(_WORDS.get(each.name) or _kebab(each.name), held, depth, held == _default(each))


def _default(each: Field[Any]) -> Any:
    if each.default is not MISSING:
        return each.default
    return each.default_factory() if each.default_factory is not MISSING else MISSING


def _entry(key: str, value: Any, depth: int, default: bool) -> Iterator[Line]:
    """A key with its value, on one line where that can be done."""
    if is_dataclass(value):
        inner = list(_members(value, depth + 1))
        yield Line(depth, f"{key}:" if inner else f"{key}: {{}}", all(line.default for line in inner))
        yield from inner
    elif isinstance(value, Mapping):
        yield Line(depth, f"{key}: {_flow(value)}", default or not value)
    elif isinstance(value, tuple) and any(is_dataclass(item) for item in value):
        yield Line(depth, f"{key}:", False)
        for item in value:
            inner = [Line(line.depth, line.text, False) for line in _members(item, depth + 2) if not line.default]
            if len(inner) == 1:
                # A model or a target with nothing but its name is written as that.
                yield Line(depth + 1, f"- {inner[0].text.partition(': ')[2]}", False)
                continue
            for number, line in enumerate(inner):
                yield Line(depth + 1, f"- {line.text}", False) if number == 0 else line
    else:
        yield Line(depth, f"{key}: {_flow(value)}", default)


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_flow(name)}: {_flow(held)}' for name, held in value.items())}}}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_flow, value))}]"
    if is_dataclass(value):
        return f"{{{', '.join(line.text for line in _members(value, 0) if not line.default)}}}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if value is None:
        return "null"
    text = str(value)
    return text if not isinstance(value, str) or (text and set(text) <= _PLAIN) else _quoted(text)


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _quoted(text: str) -> str:
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return '"' + shown.replace('"', '\\"') + '"'
