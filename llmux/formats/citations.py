"""Sources of a text as OpenAI's two formats and Gemini write them (TRANSLATION 3.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmux.formats.events import Citation
from llmux.formats.lenient import count, mapping, mappings, maybe


def from_annotation(raw: dict[str, Any], base: int = 0) -> Citation | None:
    """A `url_citation` of Responses, or the inner object of Chat's; `base` is where its text begins in the choice."""
    url = maybe(raw.get("url"))
    if url is None:
        return None
    start = count(raw.get("start_index")) or 0
    end = max(start, count(raw.get("end_index")) or 0)
    return Citation(url, maybe(raw.get("title")), None, base + start, base + end)


def annotation(citation: Citation, base: int = 0) -> dict[str, Any]:
    """The members of a `url_citation` that both formats share."""
    return {
        "start_index": max(0, citation.start - base),
        "end_index": max(0, citation.end - base),
        "title": citation.title or "",
        "url": citation.url,
    }


def from_grounding(raw: dict[str, Any], text: str, starts: list[int]) -> list[Citation]:
    """The sources in a `groundingMetadata`; its offsets count UTF-8 bytes within a part.

    `text` is the visible text of the candidate so far; `starts` gives for each part on the wire the character where it
    begins there. In a stream the parts are pieces of one text, and offsets run over all of it: the quoted text decides.
    """
    sources = [mapping(chunk.get("web")) for chunk in mappings(raw.get("groundingChunks"))]
    encoded = text.encode("utf-8", "surrogatepass")
    out: list[Citation] = []
    for support in mappings(raw.get("groundingSupports")):
        segment = mapping(support.get("segment"))
        start = count(segment.get("startIndex")) or 0
        end = max(start, count(segment.get("endIndex")) or 0)
        quoted = maybe(segment.get("text"))
        part = count(segment.get("partIndex")) or 0
        base = len(text[: starts[part]].encode("utf-8", "surrogatepass")) if part < len(starts) else 0
        if quoted is not None and encoded[base + start : base + end] != quoted.encode("utf-8", "surrogatepass"):
            base = 0
        first = _characters(encoded, base + start)
        last = _characters(encoded, base + end)
        indices = support.get("groundingChunkIndices")
        for index in indices if type(indices) is list else ():
            number = count(index)
            if number is None or number >= len(sources):
                continue
            url = maybe(sources[number].get("uri"))
            if url is not None:
                out.append(Citation(url, maybe(sources[number].get("title")), quoted, first, last))
    return out


def grounding(
    queries: Iterable[str], citations: list[Citation], text: str, parts: list[tuple[int, int]]
) -> dict[str, Any]:
    """A `groundingMetadata`; `parts` has (index on the wire, first character) of each text part, in order."""
    out: dict[str, Any] = {}
    asked = list(queries)
    if asked:
        out["webSearchQueries"] = asked
    chunks: dict[tuple[str, str | None], int] = {}
    supports: list[dict[str, Any]] = []
    for citation in citations:
        number = chunks.setdefault((citation.url, citation.title), len(chunks))
        index, base = 0, 0
        for at, first in parts:
            if first <= citation.start:
                index, base = at, first
        segment: dict[str, Any] = {"partIndex": index} if index else {}
        segment["startIndex"] = _bytes(text, base, citation.start)
        segment["endIndex"] = _bytes(text, base, citation.end)
        segment["text"] = text[citation.start : citation.end]
        supports.append({"segment": segment, "groundingChunkIndices": [number]})
    if chunks:
        out["groundingChunks"] = [{"web": _web(url, title)} for url, title in chunks]
        out["groundingSupports"] = supports
    return out


def _web(url: str, title: str | None) -> dict[str, str]:
    return {"uri": url} if title is None else {"uri": url, "title": title}


def _bytes(text: str, start: int, end: int) -> int:
    return len(text[start:end].encode("utf-8", "surrogatepass"))


def _characters(encoded: bytes, end: int) -> int:
    return len(encoded[:end].decode("utf-8", "ignore"))
