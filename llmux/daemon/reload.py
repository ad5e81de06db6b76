"""Notices a changed configuration file and switches to it, or says why not (SPEC 17).

The file is looked at by stat, not by inotify: this survives saving by rename and symlink swaps. A change is read when
two looks agree, so that a burst of writes is one reload; a text that does not end in a newline may be half of one and
has to stay still for longer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from twisted.logger import Logger

from llmux.config import Config, ConfigError, EmptyConfig, changes, read_file

LOOK_SECONDS = 0.25
HALF_WRITTEN_LOOKS = 8
MISSING_LOOKS = 2  # a file that is saved by removing and writing it is away for a moment
Identity = tuple[int, int, int, int]


def identify(path: str) -> Identity | None:
    """What tells two states of a file apart, or None when there is no file."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_dev)


def read(path: str) -> bytes | None:
    """The file's bytes, or None when it cannot be read; of one that is too long only the beginning, which says so."""
    try:
        return read_file(path)
    except ConfigError:
        return None


@dataclass(slots=True)
class WatchedFile:
    """Offers each new stable content of a file once; `misses` counts the looks in a row that found nothing to read."""

    path: str
    digest: str
    identify: Callable[[str], Identity | None] = identify
    read: Callable[[str], bytes | None] = read
    _settled: Identity | None = None
    _seen: Identity | None = None
    _looks: int = 0
    misses: int = 0

    def look(self) -> bytes | None:
        """One look; the content if it is new and has held still, else None."""
        now = self.identify(self.path)
        if now is None or now == self._settled:
            self._seen, self._looks = now, 0
            self.misses = 0 if now else self.misses + 1
            return None
        if now != self._seen:
            self._seen, self._looks = now, 0
            return None
        self._looks += 1
        content = self.read(self.path)
        if content is None:
            self.misses += 1
            return None
        self.misses = 0
        if self.identify(self.path) != now:
            return None
        if content and not content.endswith(b"\n") and self._looks < HALF_WRITTEN_LOOKS:
            return None
        self._settled = now
        return self._if_new(content)

    def force(self) -> bytes | None:
        """The content right now if it is new, however the file looks (SIGHUP)."""
        self._settled = self.identify(self.path)
        content = self.read(self.path)
        if content is None:
            self.misses = MISSING_LOOKS
            return None
        return self._if_new(content)

    def _if_new(self, content: bytes) -> bytes | None:
        digest = hashlib.sha256(content).hexdigest()
        if digest == self.digest:
            return None
        self.digest = digest
        return content


class Reloader:
    """Loads what the file offers and hands good configurations to `apply`; bad ones change nothing."""

    log = Logger()

    def __init__(
        self,
        file: WatchedFile,
        current: Config,
        load: Callable[[bytes, str], Config],
        apply: Callable[[Config], None],
    ) -> None:
        self._file = file
        self._load = load
        self._apply = apply
        self.current = current

    def poll(self) -> None:
        """Look at the file once; never raises, since a timer that raises is a timer that stopped."""
        self._guarded(self._file.look)

    def reload_now(self) -> None:
        """Act on SIGHUP: read the file without waiting for it to hold still."""
        self._guarded(self._file.force)

    def _guarded(self, look: Callable[[], bytes | None]) -> None:
        try:
            content = look()
            if content is not None:
                self._take(content)
            elif self._file.misses == MISSING_LOOKS:
                self.log.error("{path} is missing or cannot be read; the old configuration stays", path=self._file.path)
        except Exception:
            self.log.failure("while reloading {path}", path=self._file.path)

    def _take(self, content: bytes) -> None:
        path = self._file.path
        try:
            new = self._load(content, path)
        except EmptyConfig:
            return
        except ConfigError as problem:
            self.log.error("{problem}; the old configuration stays", problem=str(problem))
            return
        refusal = unsafe(self.current, new)
        if refusal:
            self.log.error("{path}: {refusal}; the old configuration stays", path=path, refusal=refusal)
            return
        changed = changes(self.current, new)
        for warning in new.warnings:
            self.log.warn("{problem}", problem=warning)
        if "listen" in changed:
            self.log.warn("{path}: a changed listen address takes effect after a restart", path=path)
        self._apply(new)
        self.current = new
        self.log.info("{path} reloaded; changed: {changed}", path=path, changed=", ".join(changed) or "nothing")


def unsafe(old: Config, new: Config) -> str | None:
    """Why a valid file is refused all the same: a truncated file is often valid YAML (HOSTILE 2, rule 14)."""
    if old.api_keys and not new.api_keys:
        return "api-keys would become empty and the daemon open to everyone (restart to mean it)"
    served = any(provider.enabled for provider in new.providers)
    if old.providers and not served and not new.ampcode.upstream_url:
        return "it has neither a provider nor an upstream left"
    return None
