"""The layout holds: imports go down the floors only, and each word has the one place that the design gives it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import llmux

PACKAGE = Path(llmux.__file__).parent
FLOORS = {
    "config": 0,
    "routing": 0,
    "rewrite": 0,
    "formats": 0,
    "client_keys": 0,
    "effort": 0,
    "headers": 0,
    "targets": 0,
    "errors": 0,
    "usage": 0,
    "wire": 1,
    "peers": 2,
    "web": 3,
    "daemon": 4,
}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    """Every module of the package as (dotted name below llmux, path, syntax tree)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            yield name, path, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that the tree imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(name: str) -> int:
    return FLOORS[name.split(".", 1)[0]]


class FloorTests(SynchronousTestCase):
    def offenders(self, **rules: object) -> None:
        self.assertEqual(rules, {key: [] for key in rules})

    def test_everyModuleStandsOnAKnownFloor(self) -> None:
        unknown = [name for name, _, _ in modules() if name.split(".", 1)[0] not in FLOORS]
        self.offenders(unknown=unknown)

    def test_importsGoDownOnly(self) -> None:
        up = [
            f"{name} imports {target}"
            for name, _, tree in modules()
            for target in imports(tree)
            if target.startswith("llmux.")
            and target.split(".")[1] in FLOORS
            and floor(target[len("llmux.") :]) > floor(name)
        ]
        self.offenders(up=up)

    def test_floorZeroKnowsNoNetworkClockOrReactor(self) -> None:
        foreign = ("twisted", "klein", "treq", "httptools", "socket", "asyncio", "time", "random")
        bad = [
            f"{name} imports {target}"
            for name, _, tree in modules()
            if floor(name) == 0
            for target in imports(tree)
            if target.split(".")[0] in foreign
        ]
        self.offenders(bad=bad)

    def test_theWireKnowsNeitherKleinNorConfigurationNorPeers(self) -> None:
        bad = [
            f"{name} imports {target}"
            for name, _, tree in modules()
            if floor(name) == 1
            for target in imports(tree)
            if target.startswith(("klein", "llmux.config", "llmux.routing", "treq"))
        ]
        self.offenders(bad=bad)

    def test_onlyTheWebFloorNamesKlein(self) -> None:
        bad = [name for name, _, tree in modules() for target in imports(tree) if target.split(".")[0] == "klein"]
        self.offenders(bad=[name for name in bad if not name.startswith("web")])

    def test_onlyTheDaemonNamesTheReactorAndNeverAtModuleLevel(self) -> None:
        bad = []
        for name, _, tree in modules():
            named = [target for target in imports(tree) if target == "twisted.internet.reactor"]
            if named and not name.startswith("daemon"):
                bad.append(name)
            top = [t for node in tree.body for t in imports(node) if isinstance(node, ast.Import | ast.ImportFrom)]
            if "twisted.internet.reactor" in top:
                bad.append(f"{name} at module level")
        self.offenders(bad=bad)

    def test_noModuleHasANameThatSaysNothing(self) -> None:
        self.offenders(bad=[name for name, _, _ in modules() if name.rsplit(".", 1)[-1] in FORBIDDEN_NAMES])

    def test_everyModuleSaysWhatItIsFor(self) -> None:
        self.offenders(bad=[name for name, _, tree in modules() if not ast.get_docstring(tree)])

    def test_noModuleOutgrowsOneSubject(self) -> None:
        long = [name for name, path, _ in modules() if len(path.read_text(encoding="utf-8").splitlines()) > 400]
        self.offenders(long=long)


class RouteTypeTests(SynchronousTestCase):
    def test_onlyTheRouterNamesARouteType(self) -> None:
        allowed = {"routing.router", "routing.decision"}
        members = {"LOCAL_PROVIDER", "MODEL_MAPPING", "AMP_CREDITS", "NO_PROVIDER"}
        bad = []
        for name, _, tree in modules():
            if name in allowed:
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and node.attr in members:
                    bad.append(f"{name}:{node.lineno}")
                if isinstance(node, ast.Constant) and node.value in members:
                    bad.append(f"{name}:{node.lineno}")
        self.assertEqual(bad, [])
