# SPDX-License-Identifier: Apache-2.0
"""What holds of every answer that ringback gives, whatever it was asked (RFC 9110, RFC 9112).

lib/client.py and lib/raw.py pass each answer through lint(), so every test that speaks HTTP to the
server tests this too."""
import json
import re

STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [A-Za-z' -]+")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t\x20-\x7e]*)")
DATE = re.compile(rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] "
                  rb"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} "
                  rb"[0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT")
NEEDS = {401: b"www-authenticate", 405: b"allow", 429: b"retry-after", 503: b"retry-after"}
JSON_MAX = 1 << 16  # what is longer is not parsed here


def fields_of(head):
    """The header lines as [(lower-case name, value)]; AssertionError where one is malformed."""
    first, *lines = head.split(b"\r\n")
    assert STATUS.fullmatch(first), f"status line {first!r}"
    found = []
    for line in lines:
        m = FIELD.fullmatch(line)
        assert m, f"header line {line!r}"
        found.append((m[1].lower(), m[2]))
    return found


def lint(status, head, body, head_only=False):
    """`head`: without the empty line behind it; `head_only`: the answer to HEAD."""
    found = fields_of(head)
    fields = dict(found)
    assert len(fields) == len(found), f"a header stands twice: {head!r}"
    assert b"transfer-encoding" not in fields, head
    if 100 <= status < 200:
        assert b"content-length" not in fields and body == b"", head
        return
    assert DATE.fullmatch(fields.get(b"date", b"")), f"Date: {head!r}"
    assert fields.get(b"connection", b"close") in (b"close", b"keep-alive"), head
    assert status not in NEEDS or NEEDS[status] in fields, f"{status} without {NEEDS[status]}"
    if status in (204, 304):
        assert not fields.keys() & {b"content-length", b"content-type"} and body == b"", head
        return
    length = fields.get(b"content-length", b"")
    assert re.fullmatch(rb"0|[1-9][0-9]{0,17}", length), f"Content-Length: {head!r}"
    assert int(length) == 0 or b"content-type" in fields, f"no Content-Type: {head!r}"
    if head_only:
        assert body == b"", body
        return
    assert int(length) == len(body), (head, len(body))
    if fields.get(b"content-type", b"").startswith(b"application/json") and len(body) <= JSON_MAX:
        json.loads(body.decode("utf-8"), parse_int=str, parse_float=str)


LOGFMT = re.compile(r"time=[0-9T:.-]+Z level=(?:debug|info|warn|error) event=([a-z_]+\.[a-z_]+)"
                    r'(?: [a-z_0-9]+=(?:[!#-<>-\[\]-~]+|"(?:[ !#-\[\]-~]|\\["\\]|\\u00[0-9a-f]{2})*"))*')


def lint_log(text):
    """Every line is one event of printable ASCII, as logfmt or as JSON; the names of the events."""
    assert text.endswith("\n")
    names = []
    for line in text.splitlines():
        if line.startswith("{"):
            assert re.fullmatch(r"[ -~]+", line), f"log line {line!r}"
            names.append(json.loads(line)["event"])
        else:
            m = LOGFMT.fullmatch(line)
            assert m, f"log line {line!r}"
            names.append(m[1])
    return names
