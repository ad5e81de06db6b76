"""Which key a request to the upstream carries: per client, configuration, environment, file (SPEC 13)."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from twisted.logger import Logger

from llmux.config.model import ClientUpstreamKey

ENVIRONMENT_VARIABLE = "AMP_API_KEY"
FILE_ENTRY = "apiKey@https://ampcode.com/"
FILE_TTL = 300.0
_LARGEST_FILE = 1024 * 1024


def secrets_path() -> Path:
    """Where the Amp client keeps its keys (SPEC R-SC-1)."""
    return Path("~/.local/share/amp/secrets.json").expanduser()


def read_secrets_file(path: Path) -> bytes | None:
    """Read the file, None when there is none; raises OSError for anything that is not a readable, small file.

    Opened without waiting: a named pipe in its place must not stop the reactor.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_FILE:
            raise OSError("not a small regular file")
        return file.read(_LARGEST_FILE)


def _trimmed(value: str | None) -> str | None:
    """Give a usable key; blank ones and ones with control characters, which no header can carry, count as absent."""
    value = (value or "").strip()
    return value if value and value.isprintable() else None


class _Malformed(Exception):
    """The file does not hold what it should; the text names no content."""


def _key_in(content: bytes | None) -> str | None:
    if content is None:
        return None
    try:
        parsed = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise _Malformed("not valid JSON") from None
    if not isinstance(parsed, dict):
        raise _Malformed("not a JSON object")
    if FILE_ENTRY not in parsed:
        return None
    value = parsed[FILE_ENTRY]
    if not isinstance(value, str):
        raise _Malformed("the entry is not a string")
    key = _trimmed(value)
    if key is None and value.strip():
        raise _Malformed("the entry has control characters")
    return key


class UpstreamKeys:
    """Chooses the upstream key for a client; only what the file says is remembered (SPEC R-SC-1 to R-SC-5).

    `seconds` is a clock, `read` gives the content of the file, None when there is none, or raises OSError.
    """

    log = Logger()

    def __init__(
        self,
        seconds: Callable[[], float],
        read: Callable[[], bytes | None],
        environment: Mapping[str, str],
        ttl: float = FILE_TTL,
    ) -> None:
        self._seconds = seconds
        self._read = read
        self._environment = environment
        self._ttl = ttl
        self._configured: str | None = None
        self._by_client: dict[str, str] = {}
        self._from_file: str | None = None
        self._read_at: float | None = None

    def configure(self, key: str | None, client_keys: Iterable[ClientUpstreamKey] = ()) -> None:
        """Take the keys of a new configuration; a key that differs makes the file be read again."""
        configured = _trimmed(key)
        if configured != self._configured:
            self.invalidate()
        self._configured = configured
        by_client: dict[str, str] = {}
        for entry in client_keys:
            upstream_key = _trimmed(entry.upstream_api_key.reveal())
            if upstream_key is None:
                continue
            for client in {_trimmed(secret.reveal()) for secret in entry.api_keys}:
                if client is None:
                    continue
                if client in by_client:
                    self.log.warn("a client key stands in several upstream-api-keys entries; the first one is used")
                else:
                    by_client[client] = upstream_key
        self._by_client = by_client

    def invalidate(self) -> None:
        """Forget what the file said."""
        self._read_at = None
        self._from_file = None

    def get(self, client_key: str | None) -> str | None:
        """Give the upstream key for a client, None when there is none anywhere."""
        if client_key is not None:
            own = self._by_client.get(client_key)
            if own is not None:
                return own
        return self._configured or _trimmed(self._environment.get(ENVIRONMENT_VARIABLE)) or self._file_key()

    def _file_key(self) -> str | None:
        now = self._seconds()
        if self._read_at is None or not 0 <= now - self._read_at < self._ttl:
            self._read_at = now
            self._from_file = self._look()
        return self._from_file

    def _look(self) -> str | None:
        try:
            return _key_in(self._read())
        except OSError as error:
            self.log.warn("the upstream secrets file cannot be read: {kind}", kind=type(error).__name__)
        except _Malformed as error:
            self.log.warn("the upstream secrets file is malformed: {problem}", problem=str(error))
        return None
