"""The README's table of what each crossing cannot carry is what the translation does."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.crossings.losses import FORMATS, MEMBERS, body, rows
from tests.vendors import chat, gemini, responses
from tests.vendors.anthropic import hear as anthropic_hear
from tests.vendors.speech import Refused

README = Path(__file__).resolve().parents[1] / "README.md"


class LossesTests(SynchronousTestCase):
    def test_theTableOfTheReadmeIsTrue(self) -> None:
        text = README.read_text(encoding="utf-8").partition("<!-- crossings -->\n")[2].partition("\n\n")[0]
        written = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in text.splitlines()[2:]]
        found = rows()
        self.assertEqual(len(found), 12)
        for row in found:
            self.assertIn(row, written)
        self.assertEqual(len(written), len(found))

    def test_everyMemberIsOneThatItsOwnVendorKnows(self) -> None:
        for client in FORMATS:
            for name, members in MEMBERS[client].items():
                asked = body(client, members)
                try:
                    if client == "chat":
                        chat.hear(asked)
                    elif client == "responses":
                        responses.hear({**asked, "store": False})
                    elif client == "anthropic":
                        anthropic_hear(asked, "2023-06-01")
                    else:
                        gemini.hear("gemini-2.5", asked, False)
                except Refused as refused:
                    self.assertNotRegex(refused.message, "Extra inputs|Unknown name|Field required", (client, name))
