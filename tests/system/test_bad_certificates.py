# SPDX-License-Identifier: Apache-2.0
"""A receiver that cannot prove its name gets nothing: no byte of a request, over https and over
wss, as the wire itself shows. Each bad certificate has a receiver of its own."""
import datetime
import warnings

import pytest

from lib.certs import CA
from lib.hostile import MARK, Stage, records, tap
from lib.names import NameServer
from lib.wait import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
ALERT, DATA = 21, 23
HOUR = datetime.timedelta(hours=1)
IP = "127.0.0.1"
A, AB, FOO = "a.hooks.test", "a.b.hooks.test", "foo.hooks.test"

# label: (host of the URL, certificate: arguments of CA.issue, what the log says)
WRONG, WRONG_IP = "hostname mismatch", "IP address mismatch"
BAD = {
    "expired": (A, {"names": (A,), "life": -HOUR}, "certificate has expired"),
    "expired, address": (IP, {"names": (IP,), "life": -HOUR}, "certificate has expired"),
    "not yet valid": (A, {"names": (A,), "start": HOUR}, "certificate is not yet valid"),
    "other name": (A, {"names": ("b.hooks.test",)}, WRONG),
    "name of a longer one": (A, {"names": ("x." + A,)}, WRONG),
    "name of a shorter one": (A, {"names": ("hooks.test",)}, WRONG),
    "the label alone": (A, {"names": ("a",)}, WRONG),
    "only the common name": (A, {"names": (), "subject": A}, WRONG),
    "unknown authority": (A, {"names": (A,), "stranger": True}, "unable to get local issuer certificate"),
    "self-signed": (A, {"names": (A,), "own": True}, "self-signed certificate"),
    "self-signed, address": (IP, {"names": (IP,), "own": True}, "self-signed certificate"),
    "RSA 1024": (A, {"names": (A,), "rsa": 1024}, "EE certificate key too weak"),
    "SHA-1": (A, {"names": (A,), "sha1": True}, "CA signature digest algorithm too weak"),
    "address for a name": (A, {"names": (IP,)}, WRONG),
    "name for an address": (IP, {"names": (A,)}, WRONG_IP),
    "address written as a name": (IP, {"names": (IP,), "as_text": True}, WRONG_IP),
    "other address": (IP, {"names": ("127.0.0.2", "::1")}, WRONG_IP),
    "wildcard for an address": (IP, {"names": ("*.0.0.1",)}, WRONG_IP),
    "wildcard of a top label": ("hooks.test", {"names": ("*.test",)}, WRONG),
    "wildcard of all": ("hooks.test", {"names": ("*",)}, WRONG),
    "wildcard for two labels": (AB, {"names": ("*.hooks.test",)}, WRONG),
    "wildcard for no label": ("hooks.test", {"names": ("*.hooks.test",)}, WRONG),
    "wildcard within a label": (FOO, {"names": ("f*o.hooks.test",)}, WRONG),
    "wildcard at a label's end": (FOO, {"names": ("fo*.hooks.test",)}, WRONG),
    "wildcard that is not the first": (AB, {"names": ("a.*.hooks.test",)}, WRONG),
    "two wildcards": (AB, {"names": ("*.*.hooks.test",)}, WRONG),
}
GOOD = {
    "name": (A, {"names": (A,)}, ""),
    "name in capitals": (A, {"names": (A.upper(),)}, ""),
    "wildcard": (A, {"names": ("*.hooks.test",)}, ""),
    "address": (IP, {"names": (IP,)}, ""),
    "among others": (A, {"names": ("b.hooks.test", IP, A)}, ""),
}


@pytest.fixture(scope="module")
def names():
    with NameServer(default=["127.0.0.1"]) as ns:
        yield ns


def issue(ca, stranger, label, more):
    args = dict(more)
    who = stranger if args.pop("stranger", False) else ca
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SHA-1
        return who.issue(label.replace(" ", "-").replace("'", ""), **args)


@pytest.fixture(scope="module")
def stage(ca, names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    stranger = CA(tmp_path_factory.mktemp("stranger"))
    pairs = {label: issue(ca, stranger, label, more) for label, (_, more, _) in {**BAD, **GOOD}.items()}
    s = Stage(folder, ca, pairs, names, {"delivery.schedule": "1h"})
    yield s
    s.stop()


@pytest.fixture(scope="module")
def tries(stage):
    """{(label, scheme): (receiver, job)}: all at once."""
    ret = {}
    for label, (host, *_) in {**BAD, **GOOD}.items():
        for scheme in ("https", "wss"):
            # By turns: what a refused certificate leaves on the wire differs.
            r = stage.receiver(tap(OK if scheme == "https" else GONE), cert=label, old=scheme == "wss")
            ret[label, scheme] = r, stage.submit(r.url(host=host, scheme=scheme))
    return ret


@pytest.mark.parametrize("scheme", ["https", "wss"])
@pytest.mark.parametrize("label", BAD)
def test_nothing_is_sent(stage, tries, label, scheme):
    r, job = tries[label, scheme]
    state = stage.wait(job, lambda s: s[4], "an attempt failed")
    assert state[0] == "wait" and state[1] == 1, state
    assert [n[:3] for n in state[4]] == [(1, 0, "TLS")], state
    assert any("event=delivery.failed" in x and "error=TLS" in x and BAD[label][2] in x for x in stage.lines(job))
    until(r.drained.is_set, 20, "the connection is closed")
    assert r.connections == 1 and not r.heard and MARK.encode() not in r.raw
    sent = records(r.raw)
    if scheme == "wss":  # TLS 1.2: the alert is in clear, and there is no data at all
        assert DATA not in [kind for kind, _ in sent] and (ALERT, 2) in sent, sent
    else:  # TLS 1.3: data and alerts look alike, but for their length
        assert [n for kind, n in sent if kind == DATA] in ([], [2 + 1 + 16]), sent


@pytest.mark.parametrize("scheme", ["https", "wss"])
@pytest.mark.parametrize("label", GOOD)
def test_the_good_ones_are_taken(stage, tries, label, scheme):
    """The control: the same receivers hear a request when the name is theirs."""
    r, job = tries[label, scheme]
    state = stage.ended(job)
    if scheme == "https":
        assert state[:3] == ("done", 1, 200) and r.heard[1].startswith(b"POST /x ") and MARK.encode() in r.heard[1]
    else:
        assert state[:3] == ("dead", 1, 410) and r.heard[1].startswith(b"GET /x ")
    assert any(kind == DATA and n > 100 for kind, n in records(r.raw))
