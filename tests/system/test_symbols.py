# SPDX-License-Identifier: Apache-2.0
"""The shared library exports the functions of the public headers, and nothing else; the
documented error codes are those of the error table."""
import pathlib
import re
import subprocess

import pytest

from lib.server import build

ROOT = pathlib.Path(__file__).resolve().parents[2]


def declared():
    text = ""
    for f in [ROOT / "include/ringback.h", *sorted((ROOT / "include/ringback").glob("*.h"))]:
        text += re.sub(r"/\*.*?\*/", "", f.read_text(), flags=re.S)
    return set(re.findall(r"^RBK_API [^;(]*?\*?\b(rbk_\w+)\(", text, re.M))


def test_exported_symbols():
    lib = build() / "src/libringback.so"
    if not lib.exists():
        pytest.skip("no shared library in this build")
    out = subprocess.run(["nm", "-D", "--defined-only", str(lib)], check=True,
                         capture_output=True, text=True).stdout
    exported = {line.split()[-1].split("@")[0] for line in out.splitlines()}
    names = declared()
    assert len(names) > 40, "the search for declarations finds too few"
    assert {s for s in exported if not s.startswith("__")} == names


def test_error_codes_are_documented():
    table = (ROOT / "include/ringback/types.h").read_text()
    rows = re.findall(r"X\(\w+, -\d+, (-32\d+), \w+, \"([^\"]+)\"\)", table)
    first = {}
    for code, text in rows:
        first.setdefault(code, text)
    doc = dict(re.findall(r"^\| (-32\d+) \| ([^|]+?) \|", (ROOT / "docs/requests.md").read_text(), re.M))
    assert len(doc) > 8
    for code, text in doc.items():
        texts = {t for c, t in rows if c == code}
        assert text in texts, (code, text, first.get(code))
