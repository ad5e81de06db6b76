"""The README says what is true: its commands, routes, keys and dependencies are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from llmux.daemon.commands.main import COMMANDS, parser
from llmux.web.routes import table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows(name: str) -> list[list[str]]:
    """The cells of the table between two markers, without its head."""
    text = README.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]
    lines = [line for line in text.strip().splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


class ReadmeTests(SynchronousTestCase):
    def test_theTableOfCommandsIsThatOfHelp(self) -> None:
        self.assertEqual(rows("commands"), [[f"llmux {command.name}", command.help] for command in COMMANDS])
        help_text = " ".join(parser().format_help().split())
        for command in COMMANDS:
            self.assertIn(f"{command.name} {command.help}", help_text)

    def test_theTableOfRoutesIsTheDaemonsOwn(self) -> None:
        self.assertEqual(rows("routes"), [list(row) for row in table()])

    def test_everyTopLevelKeyOfTheExampleIsExplained(self) -> None:
        text = (ROOT / "etc" / "llmux.yaml").read_text(encoding="utf-8")
        keys = set(re.findall(r"^(?:# )?([a-z][a-z-]+):", text, re.MULTILINE))
        keys -= {"directory", "models", "max-size"}
        section = README.split("## Configuration")[1].split("\n## ")[0]
        self.assertEqual({key for key in keys if f"`{key}" not in section}, set())
        self.assertGreater(len(keys), 10)

    def test_everyDependencyHasAReason(self) -> None:
        setup = (ROOT / "setup.py").read_text(encoding="utf-8")
        required = re.findall(r'"([a-z_]+)[\[>]', setup.split("install_requires")[1].split("extras_require")[0])
        section = README.split("## What it stands on")[1].lower()
        self.assertEqual([name for name in required if name.replace("_", "") not in section.replace("_", "")], [])

    def test_theCommandsOfTheFirstMinuteAreMarked(self) -> None:
        for name in ("run", "test"):
            block = README.split(f"<!-- {name} -->\n```sh\n")[1].split("```")[0]
            self.assertEqual(len(block.strip().splitlines()), 1, name)

    def test_yamlInTheReadmeIsYaml(self) -> None:
        for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL):
            self.assertIsInstance(yaml.safe_load(block), dict)
