"""The chunked transfer coding, read strictly and without a socket."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmux.headers import RawHeaders

_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t\x20-\x7e\x80-\xff]*)?")
_UNFINISHED_LINE = re.compile(rb"(?:[0-9A-Fa-f]{1,8}(?:;[\t\x20-\x7e\x80-\xff]*)?\r?)?")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")

# Chunk size lines already found valid, zero left out. Streams repeat few sizes; a look-up costs a third of a match.
_known_sizes: dict[bytes, int] = {}
_KNOWN_SIZES_KEPT = 4096


class FramingError(ValueError):
    """The peer's bytes are not a valid chunked body; the text names the rule and quotes nothing."""


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """Bounds of what is not content, in bytes and fields (HOSTILE rule 3).

    `line` bounds one chunk size line with its extension, `extensions` all extensions of a body together, `trailer` the
    trailer section and `trailer_fields` the number of its lines.
    """

    line: int = 1024
    extensions: int = 16384
    trailer: int = 8192
    trailer_fields: int = 64


DEFAULT_LIMITS = ChunkLimits()


# With more than this behind a chunk, the rest is taken apart in one go, for a quarter of the loop's cost. That looks at
# every byte, which the loop does not, so that it is for small chunks only.
_BURST = 256
_SMALL = 256

# What comes next. Plain integers: an enumeration's members cost a look-up per chunk.
_SIZE, _DATA, _DATA_END, _TRAILER, _NOTHING = range(5)


def _whole_chunks(data: bytes, pieces: list[bytes]) -> int:
    """Append the chunks at the start of `data` whose content has no CRLF and return the bytes they took.

    Between two line ends there is a size or a content, so sizes and lengths of a well-formed run are equal lists.
    """
    parts = data.split(b"\r\n")
    rest = len(parts.pop())
    lines, contents = parts[::2], parts[1::2]
    if len(lines) > len(contents):
        rest += len(lines.pop()) + 2
    if list(map(_known_sizes.get, lines)) != list(map(len, contents)):
        count = 0
        while _known_sizes.get(lines[count]) == len(contents[count]):
            count += 1
        rest += sum(map(len, lines[count:])) + sum(map(len, contents[count:])) + 4 * (len(lines) - count)
        del contents[count:]
    pieces += contents
    return len(data) - rest


class ChunkedDecoder:
    """Takes a chunked body apart as it arrives (RFC 9112 7.1).

    `feed` returns the pieces of content in order and how many bytes of its argument belong to the body: all of them,
    until `done`. It raises FramingError on anything but the strict grammar: sizes are 1 to 8 hexadecimal digits,
    lines end in CRLF, extensions are skipped, and trailers are fields without control bytes. A decoder that has raised
    must not be fed again.
    """

    __slots__ = ("_expect", "_extensions", "_held", "_left", "_limits", "done", "trailers")

    def __init__(self, limits: ChunkLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._expect = _SIZE
        self._left = 0
        self._held = b""
        self._extensions = 0
        self.done = False
        self.trailers: RawHeaders = []

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        """Return the content found in `data` and the number of its bytes that were part of the body."""
        if self.done:
            return [], 0
        carried = len(self._held)
        if carried:
            data = self._held + data
            self._held = b""
        pieces: list[bytes] = []
        position, end = 0, len(data)
        expect = self._expect
        burst = True
        find, known, append = data.find, _known_sizes.get, pieces.append
        while position < end:
            if expect == _SIZE:
                # Most reads are exactly one or several whole chunks: this loop is all that they cost.
                while (line_end := find(b"\r\n", position)) > 0:
                    size = known(data[position:line_end])
                    if size is None:
                        break
                    line_end += 2
                    chunk_end = line_end + size
                    if data[chunk_end : chunk_end + 2] != b"\r\n":
                        break
                    append(data[line_end:chunk_end])
                    position = chunk_end + 2
                    if burst and end - position > _BURST and size <= _SMALL:
                        burst = False  # once: a second search of the same bytes could be made to fail again
                        position += _whole_chunks(data[position:], pieces)
                if position == end:
                    break
                line_end = find(b"\r\n", position, position + self._limits.line + 2)
                if line_end < 0:
                    self._hold_line(data, position)
                    position = end
                    break
                size = self._size(data[position:line_end])
                position = line_end + 2
                if not size:
                    expect = _TRAILER
                    continue
                self._left = size
                expect = _DATA
            elif expect == _DATA:
                left = self._left
                available = end - position
                if available < left:
                    pieces.append(data[position:])
                    self._left = left - available
                    position = end
                else:
                    pieces.append(data[position : position + left])
                    position += left
                    expect = _DATA_END
            elif expect == _DATA_END:
                tail = data[position : position + 2]
                if tail == b"\r\n":
                    position += 2
                    expect = _SIZE
                elif tail == b"\r":
                    self._held = tail
                    position = end
                else:
                    raise FramingError("a chunk is longer than its size")
            else:
                position = self._trailer(data, position)
                if self.done:
                    expect = _NOTHING
                break
        self._expect = expect
        return pieces, position - carried

    def _size(self, line: bytes) -> int:
        match = _LINE.fullmatch(line)
        if match is None:
            raise FramingError("invalid chunk size line")
        size = int(match[1], 16)
        if match.end(1) == len(line):
            if size and len(_known_sizes) < _KNOWN_SIZES_KEPT:
                _known_sizes[line] = size
        else:
            self._extensions += len(line) - match.end(1)
            if self._extensions > self._limits.extensions:
                raise FramingError("chunk extensions too long")
        return size

    def _hold_line(self, data: bytes, position: int) -> None:
        """Keep the beginning of a size line, unless no rest could make it valid."""
        if len(data) - position > self._limits.line:
            raise FramingError("chunk size line too long")
        rest = data[position:]
        if _UNFINISHED_LINE.fullmatch(rest) is None:
            raise FramingError("invalid chunk size line")
        self._held = rest

    def _trailer(self, data: bytes, position: int) -> int:
        """Read the trailer section if all of it is here; return the position behind what was taken."""
        if data.startswith(b"\r\n", position):
            self.done = True
            return position + 2
        section_end = data.find(b"\r\n\r\n", position, position + self._limits.trailer + 4)
        if section_end < 0:
            if len(data) - position > self._limits.trailer:
                raise FramingError("trailers too long")
            self._held = data[position:]
            return len(data)
        lines = data[position:section_end].split(b"\r\n")
        if len(lines) > self._limits.trailer_fields:
            raise FramingError("too many trailers")
        for line in lines:
            match = _FIELD.fullmatch(line)
            if match is None:
                raise FramingError("invalid trailer")
            self.trailers.append((match[1], match[2].rstrip(b" \t")))
        self.done = True
        return section_end + 4
