# SPDX-License-Identifier: Apache-2.0
"""The examples of the JSON-RPC 2.0 specification, and the edges that other servers test."""
import json

import pytest

from lib.server import Server, root


def cases(name):
    path = root() / "tests/data/jsonrpc" / name
    return [c for c in json.loads(path.read_text())["cases"] if isinstance(c["request"], str)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory, ca):
    s = Server(tmp_path_factory.mktemp("spec"), ca.pem).start()
    yield s
    s.stop()
    s.check_sanitizers()


@pytest.fixture
def client(shared):
    with shared.client() as c:
        yield c


def in_order(answer):
    """Members may stand in any order; a batch is compared by what is in it."""
    if isinstance(answer, list):
        return sorted(json.dumps(a, sort_keys=True) for a in answer)
    return answer


@pytest.mark.parametrize("case", cases("spec-examples.json"), ids=lambda c: c["name"])
def test_examples_of_the_specification(client, case):
    reply = client.post(case["request"].encode())
    if case["response"] == "nothing":
        assert (reply.status, reply.body) == (204, b"")
        return
    assert reply.status == 200
    assert in_order(reply.json) == in_order(json.loads(case["response"]))


def matches(answer, raw, want):
    """One answer against {result_json,id_json}, {error,id_json} or {one_of:[…]}."""
    if "one_of" in want:
        return any(matches(answer, raw, w) for w in want["one_of"])
    if f'"id":{want["id_json"]}'.encode() not in raw:
        return False
    if "error" in want:
        return answer.get("error", {}).get("code") == want["error"]
    return answer.get("result", "absent") == json.loads(want["result_json"])


# Where the contract decides what the cases leave open.
DECIDED = {
    "params null": {"result_json": '["hello",5]', "id_json": "3"},
    "UTF-8 BOM before the document": {"error": -32700, "id_json": "null"},
    "lone surrogate in params": {"error": -32700, "id_json": "null"},
    "duplicate member method": {"error": -32600, "id_json": "1"},
    "duplicate member escaped twin": {"error": -32600, "id_json": "1"},
}


@pytest.mark.parametrize("case", cases("edge-cases.json"), ids=lambda c: c["name"])
def test_edge_cases(client, case):
    want = DECIDED.get(case["name"], case["expect"])
    reply = client.post(case["request"].encode("utf-8", "surrogatepass"))
    if want == "nothing":
        assert (reply.status, reply.body) == (204, b"")
        return
    assert reply.status == 200
    if "batch" not in want:
        assert matches(reply.json, reply.body, want), (reply, want)
        return
    answers = reply.json
    assert len(answers) == len(want["batch"])
    for answer, w in zip(answers, want["batch"]):
        assert matches(answer, json.dumps(answer, separators=(",", ":")).encode(), w), (answer, w)
