"""Media sources: data URLs, base64 dialects and MIME types (TRANSLATION 4.8). Never fetches anything."""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from llmux.formats.losses import malformed
from llmux.formats.neutral import Audio, Document, Image, Inline, Media, PlainText, Source, Url, Video

UNKNOWN = "application/octet-stream"
IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_URL_SAFE = str.maketrans("-_", "+/")
_HEAD = 24
_BY_NAME = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
}
_AUDIO_FORMATS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mp3": "mp3",
    "audio/mpeg": "mp3",
}


class DataUrl(NamedTuple):
    """A taken apart `data:` URL; `mime` is empty when it names none."""

    mime: str
    data: str


def base64_text(data: str, path: str) -> str:
    """Standard base64 with padding and without white space, whichever alphabet `data` uses.

    Raises RequestRefused for anything else.
    """
    if "-" in data or "_" in data:
        data = data.translate(_URL_SAFE)
    if not data.isascii():
        raise malformed(path, "base64")
    rest = data.encode().translate(None, _ALPHABET)
    if rest.strip(b"="):
        data = "".join(data.split())
        rest = data.encode().translate(None, _ALPHABET)
    if rest.strip(b"=") or len(rest) > 2 or not data.endswith(rest.decode()):
        raise malformed(path, "base64")
    return data + "=" * (-len(data) % 4)


def data_url(url: str, path: str) -> DataUrl:
    """The parts of a `data:` URL: split at the first comma; what is not base64 is percent-decoded and encoded anew."""
    head, comma, data = url[len("data:") :].partition(",")
    if not comma:
        raise malformed(path, "a data URL with a comma")
    mime, *parameters = head.split(";")
    if any(parameter.strip().lower() == "base64" for parameter in parameters):
        return DataUrl(clean_mime(mime), base64_text(unquote_text(data), path))
    plain = unquote_to_bytes(data.encode("utf-8", "replace"))
    return DataUrl(clean_mime(mime), base64.b64encode(plain).decode("ascii"))


def unquote_text(data: str) -> str:
    """Base64 as it stood before percent escapes."""
    return unquote_to_bytes(data.encode("utf-8", "replace")).decode("latin-1") if "%" in data else data


def is_data_url(url: str) -> bool:
    """Whether the bytes are in the URL itself."""
    return url[:5].lower() == "data:"


def clean_mime(mime: str) -> str:
    """A MIME type in lower case, without parameters, and with the one name that servers know for jpeg."""
    mime = mime.partition(";")[0].strip().lower()
    return "image/jpeg" if mime in ("image/jpg", "image/pjpeg") else mime


def mime_of_name(name: str | None) -> str | None:
    """The MIME type that a file name or the path of a URL tells."""
    if not name:
        return None
    return _BY_NAME.get(name.rpartition(".")[2].lower()) if "." in name else None


def mime_of_url(url: str) -> str | None:
    """The MIME type that the end of a URL's path tells."""
    try:
        return mime_of_name(urlsplit(url).path)
    except ValueError:
        return None


def mime_of_bytes(data: str) -> str | None:
    """The MIME type that the first bytes of base64 text tell."""
    try:
        head = base64.b64decode(data[:_HEAD])
    except (binascii.Error, ValueError):
        return None
    if head.startswith(b"\x89PNG"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"GIF8"):
        return "image/gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return "application/pdf" if head.startswith(b"%PDF") else None


def inline(mime: str | None, data: str, path: str, filename: str | None = None) -> Inline:
    """Bytes with the best known type: the given one, else that of the file name, else that of the first bytes."""
    encoded = base64_text(data, path)
    known = clean_mime(mime or "")
    if known in ("", UNKNOWN):
        known = mime_of_name(filename) or mime_of_bytes(encoded) or known or UNKNOWN
    return Inline(known, encoded)


def from_url(url: str, path: str, filename: str | None = None) -> Inline | Url:
    """A source from a URL that may hold its own bytes."""
    if not is_data_url(url):
        return Url(url, mime_of_url(url) or mime_of_name(filename))
    mime, data = data_url(url, path)
    return inline(mime, data, path, filename)


def part(source: Inline | Url, path: str, title: str | None = None, filename: str | None = None) -> Media:
    """The kind of part that the type of a source tells; what is neither picture, sound nor film is a document."""
    mime = source.mime or ""
    if mime.startswith("image/"):
        return Image(source, path=path)
    if mime.startswith("audio/"):
        return Audio(source, path=path)
    if mime.startswith("video/"):
        return Video(source, path=path)
    return Document(source, title, filename, path)


def to_data_url(source: Inline) -> str:
    """Bytes as a `data:` URL."""
    return f"data:{source.mime};base64,{source.data}"


def audio_format(mime: str) -> str | None:
    """OpenAI's word for an audio type; None for those it does not take."""
    return _AUDIO_FORMATS.get(mime)


def as_text(source: Source) -> PlainText | None:
    """A textual document as text: PlainText itself, and inline `text/*` that is UTF-8."""
    if isinstance(source, PlainText):
        return source
    if isinstance(source, Inline) and source.mime.startswith("text/"):
        try:
            return PlainText(base64.b64decode(source.data).decode("utf-8"), source.mime)
        except (binascii.Error, ValueError):
            return None
    return None


def labelled(text: str, title: str | None) -> str:
    """A text document where the target has no slot for one."""
    head = f'<document title="{title}">' if title else "<document>"
    return f"{head}\n{text}\n</document>"


def is_provider_file(uri: str) -> bool:
    """Whether a Gemini `fileUri` lies at Google, where no other vendor can read it."""
    return uri.startswith(("gs://", "files/", "https://generativelanguage.googleapis.com/"))


def is_youtube(uri: str) -> bool:
    """Whether a Gemini `fileUri` without a type is a video."""
    return re.match(r"https?://(?:www\.|m\.)?(?:youtube\.com|youtu\.be)/", uri) is not None


def describe(source: Source) -> str:
    """The kind of a source in a refusal's message."""
    return "a URL" if isinstance(source, Url) else f"the type {source.mime}"
