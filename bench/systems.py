"""The programs under test: nginx, Caddy and llmux, each with a real configuration in front of one fake provider."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.accounting import Usage, tree, usage
from bench.machine import placed

START_SECONDS = 30.0
STOP_SECONDS = 10.0
CLIENT_KEY = "bench-client-key"
MAPPED = "claude-"  # what a mapped model is called before it is mapped
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")

_NGINX = """
{user}worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;
worker_rlimit_nofile {descriptors};
events {{ worker_connections {connections}; use epoll; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 1000000; keepalive_timeout 300s;
  client_max_body_size 64m; client_body_buffer_size 16k;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream provider {{ server 127.0.0.1:{provider}; keepalive 512; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=16384;
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 300s;
    }}
  }}
}}
"""
_CADDY = """
{{
	admin off
	auto_https off
	storage file_system {folder}/caddy
}}
http://127.0.0.1:{port} {{
	bind 127.0.0.1
	reverse_proxy 127.0.0.1:{provider} {{
		flush_interval -1
		transport http {{
			keepalive_idle_conns_per_host 512
			keepalive_idle_conns 1024
		}}
	}}
}}
"""
_LLMUX = """
listen: tcp:{port}:interface=127.0.0.1
api-keys: [{key}]
providers:
  - name: bench
    kind: openai
    base-url: http://127.0.0.1:{provider}/v1
    api-keys: [bench-provider-key]
    models: ["bench-*"]
ampcode:
  upstream-url: http://127.0.0.1:{provider}
  upstream-api-key: bench-upstream-key
  credits: deny
  model-mappings:
{mappings}
"""


class CannotStart(Exception):
    """A program does not run or does not listen."""


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_listening(process: subprocess.Popen[bytes], port: int, what: str, log: Path) -> None:
    """Return when the port takes connections; raises CannotStart with the end of the log when it will not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise CannotStart(f"{what} ended with {process.returncode}: {tail}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise CannotStart(f"{what} does not listen on {port}")


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and kill it when it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


@dataclass
class System:
    """One running proxy; `faults` collects what must not happen."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    headers: tuple[str, ...] = ()
    faults: list[str] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether it has not ended by itself."""
        return self.process.poll() is None

    def usage(self) -> Usage:
        """CPU time and memory of all of its processes."""
        return usage(self.process.pid)

    def pids(self) -> list[int]:
        """All of its processes."""
        return tree(self.process.pid)

    def settle(self, seconds: float = 5.0) -> None:
        """Wait until it has nothing left to do."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            before = self.usage().cpu_s
            time.sleep(0.1)
            if self.usage().cpu_s - before < 0.01:
                return

    def stop(self) -> list[str]:
        """End it; returns its faults: an end of its own, and whatever its log complains of."""
        if not self.running:
            self.faults.append(f"{self.name} ended by itself with {self.process.returncode}")
        stop_process(self.process)
        if self.name == "llmux":
            self.faults += log_faults(self.folder)
        return self.faults


def log_faults(folder: Path) -> list[str]:
    """What the logs of llmux say that must not be there: a traceback or an unhandled error."""
    for path in sorted(folder.glob("*.log*")):
        with path.open(errors="replace") as lines:
            for line in lines:
                if "Traceback" in line or '"level": "critical"' in line:
                    return [f"llmux logged a failure: {line.strip()[:1000]}"]
    return []


def decisions_logged(folder: Path) -> int:
    """How many decision records llmux has written."""
    return sum(
        line.count("amp-routing") for path in folder.glob("decisions.log*") for line in path.open(errors="replace")
    )


def nginx(folder: Path, provider: int, port: int, mappings: dict[str, str]) -> list[str]:
    """Write nginx's configuration; returns its command."""
    descriptors = 20000
    text = _NGINX.format(
        user="user root; " if os.geteuid() == 0 else "",
        folder=folder,
        descriptors=descriptors,
        connections=descriptors - 100,
        provider=provider,
        port=port,
    )
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]


def caddy(folder: Path, provider: int, port: int, mappings: dict[str, str]) -> list[str]:
    """Write Caddy's configuration; returns its command."""
    (folder / "Caddyfile").write_text(_CADDY.format(folder=folder, provider=provider, port=port))
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def llmux(folder: Path, provider: int, port: int, mappings: dict[str, str]) -> list[str]:
    """Write a configuration as people have one: client keys, a provider with a key, an upstream, mappings.

    Every decision is logged to a file, those of LOCAL_PROVIDER too.
    """
    rules = "\n".join(f"    - {{from: {name}, to: {target}}}" for name, target in mappings.items()) or "    []"
    text = _LLMUX.format(port=port, key=CLIENT_KEY, provider=provider, mappings=rules)
    (folder / "llmux.yaml").write_text(text)
    daemon = ["--pidfile=", "-n", f"--logfile={folder / 'decisions.log'}", "llmux"]
    options = ["--config", str(folder / "llmux.yaml"), "--log-format", "json", "--log-level", "debug"]
    return [str(Path(sys.executable).with_name("twistd")), *daemon, *options]


COMMANDS: dict[str, Callable[[Path, int, int, dict[str, str]], list[str]]] = {
    "nginx": nginx,
    "caddy": caddy,
    "llmux": llmux,
}


def search_path() -> str:
    """Where programs are looked for: Debian keeps nginx in a folder that is not on everybody's path."""
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"


def installed(name: str) -> bool:
    """Whether a peer is there."""
    return shutil.which(name, path=search_path()) is not None


def start(name: str, folder: Path, provider: int, core: int, mappings: dict[str, str]) -> System:
    """Start a proxy on its core and wait until it listens; raises CannotStart."""
    folder.mkdir(parents=True)
    port = free_port()
    command = COMMANDS[name](folder, provider, port, mappings)
    program = shutil.which(command[0], path=search_path()) or command[0]
    environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
    log = folder / "output.log"
    with log.open("wb") as out, placed(core):
        process = subprocess.Popen(
            [program, *command[1:]],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env={**environment, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        )
    try:
        wait_until_listening(process, port, name, log)
    except BaseException:
        stop_process(process)
        raise
    headers = (f"Authorization: Bearer {CLIENT_KEY}",) if name == "llmux" else ()
    return System(name, process, port, folder, headers)
