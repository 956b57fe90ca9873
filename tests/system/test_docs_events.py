# SPDX-License-Identifier: Apache-2.0
"""docs/events.md names every event that the code writes, and no other."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]


def calls(text):
    """The text of each call that writes an event, to its closing parenthesis."""
    for m in re.finditer(r"\b(?:rbk_event|log_outcome|log_line|log_event)\(", text):
        depth, at = 1, m.end()
        while depth and at < len(text):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        yield text[m.end():at]


def events_of_code():
    found = set()
    for f in sorted((ROOT / "src").rglob("*.c")):
        for call in calls(f.read_text()):
            found.update(re.findall(r'"([a-z]+\.[a-z_]+)"', call))
    return found


def test_events_are_documented():
    doc = (ROOT / "docs/events.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_.]+)` \|", doc, re.M))
    code = events_of_code()
    assert len(code) > 15, "the search for events finds too few"
    assert code == documented
