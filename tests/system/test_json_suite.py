# SPDX-License-Identifier: Apache-2.0
"""JSONTestSuite through HTTP: what is JSON is understood, what is not is -32700."""
import json
import tarfile

import pytest


@pytest.fixture(scope="module")
def suite(data):
    with tarfile.open(data("jsontestsuite.tar.gz")) as tar:
        return {m.name.rsplit("/", 1)[-1]: tar.extractfile(m).read() for m in tar
                if m.isfile() and "test_parsing/" in m.name}


def code(reply):
    """The error code of an answer for the document as a whole; None for anything else."""
    if reply.status == 204:
        return None
    assert reply.status == 200, reply
    answer = json.loads(reply.body)
    return answer["error"]["code"] if isinstance(answer, dict) else None


def ask(client, suite, prefix):
    return {name: code(client.post(body)) for name, body in suite.items() if name.startswith(prefix)}


def test_valid_documents_are_understood(client, suite):
    got = ask(client, suite, "y_")
    assert len(got) == 95
    assert {n: c for n, c in got.items() if c == -32700} == {}


def test_valid_documents_pass_through_a_method_unchanged(client, suite):
    for name, body in suite.items():
        if not name.startswith("y_"):
            continue
        reply = client.post(b'{"id":1,"method":"test.echo","params":[' + body + b"]}")
        assert reply.status == 200 and "result" in json.loads(reply.body), name
        assert json.loads(reply.body, parse_float=str, parse_int=str)["result"] == \
            json.loads(b"[" + body + b"]", parse_float=str, parse_int=str), name


def test_what_is_no_json_is_refused(server, client, suite):
    got = ask(client, suite, "n_")
    assert len(got) == 188
    assert {n: c for n, c in got.items() if c != -32700} == {}
    assert server.alive()


def test_undecided_documents_are_decided(server, client, suite):
    """RFC 8259 leaves these open. Big numbers are kept, bad UTF-8 and half surrogates refused."""
    got = ask(client, suite, "i_")
    assert len(got) == 35
    for name, c in got.items():
        if name.startswith("i_number_"):
            assert c != -32700, name
        elif name.startswith("i_string_") or "surrogate" in name or "BOM" in name or "500_nested" in name:
            assert c == -32700, name
    assert server.alive()


def test_depth(server, client):
    for opener, closer in (b"[", b"]"), (b'{"a":', b"}"):
        for depth in (1000, 100_000, 180_000 // len(opener)):
            assert code(client.post(opener * depth + b"1" + closer * depth)) == -32700
            assert code(client.post(opener * depth)) == -32700
    for depth in (1, 30):
        body = b'{"id":1,"method":"test.echo","params":' + b"[" * depth + b"]" * depth + b"}"
        assert "result" in client.post(body).json
    assert server.alive()
