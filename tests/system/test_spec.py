# SPDX-License-Identifier: Apache-2.0
"""The examples of the JSON-RPC 2.0 specification, the edges that other servers test, and those of
`$rpc.callback`; over every transport that the front has."""
import json

import pytest

from lib.server import Server, root
from lib.transports import TRANSPORTS
from lib.wait import until


def cases(name):
    path = root() / "tests/data/jsonrpc" / name
    return [c for c in json.loads(path.read_text())["cases"] if isinstance(c["request"], str)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory, ca):
    s = Server(tmp_path_factory.mktemp("spec"), ca.pem).start()
    yield s
    s.stop()
    s.check_sanitizers()


@pytest.fixture(params=TRANSPORTS)
def transport(request, shared):
    with TRANSPORTS[request.param](shared) as t:
        yield t


def in_order(answer):
    """Members may stand in any order; a batch is compared by what is in it."""
    if isinstance(answer, list):
        return sorted(json.dumps(a, sort_keys=True) for a in answer)
    return answer


@pytest.mark.parametrize("case", cases("spec-examples.json"), ids=lambda c: c["name"])
def test_examples_of_the_specification(transport, case):
    answer = transport.ask(case["request"].encode())
    if case["response"] == "nothing":
        assert answer is None
        return
    assert in_order(json.loads(answer)) == in_order(json.loads(case["response"]))


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
def test_edge_cases(transport, case):
    want = DECIDED.get(case["name"], case["expect"])
    raw = transport.ask(case["request"].encode("utf-8", "surrogatepass"))
    if want == "nothing":
        assert raw is None
        return
    if "batch" not in want:
        assert matches(json.loads(raw), raw, want), (raw, want)
        return
    answers = json.loads(raw)
    assert len(answers) == len(want["batch"])
    for answer, w in zip(answers, want["batch"]):
        assert matches(answer, json.dumps(answer, separators=(",", ":")).encode(), w), (answer, w)


# --- the callback ---------------------------------------------------------------------------------

EXTENSION = {c["name"]: c["request"] for c in cases("callback-extension.json")
             if c["request"].startswith(("{", "["))}
URL = "https://hooks.example.com/rpc"


def queued(server):
    """In one look: a job goes from one table to the other."""
    return server.rows("select (select count(*) from job) + (select count(*) from wait) + (select count(*) from done)")[0][0]


def check_delivered(server, transport, receiver, text, times=1):
    """Acknowledged each time, and each time the response object comes under an id of its own."""
    for _ in range(times):
        ack = json.loads(transport.ask(text.replace(URL, receiver.url("/rpc")).encode()))
        assert ack["id"] == 7 and ack["jsonrpc"] == "2.0"
        assert ack["result"] == {"callback": {"url": receiver.url("/rpc"), "status": True, "data": []}}
    posts = receiver.wait(times)
    assert [json.loads(p.body) for p in posts] == [{"jsonrpc": "2.0", "id": 7, "result": 3}] * times
    assert len({p.headers["webhook-id"] for p in posts}) == times


@pytest.mark.parametrize("name, times", [("accepted", 1), ("accepted", 2), ("callback spelled with an escape", 1)])
def test_callback_is_delivered(shared, transport, receiver, name, times):
    check_delivered(shared, transport, receiver, EXTENSION[name], times)


@pytest.mark.parametrize("name", [n for n in EXTENSION if n.startswith("callback value")])
def test_bad_callbacks(shared, transport, name):
    before = queued(shared)
    answer = json.loads(transport.ask(EXTENSION[name].encode()))
    assert answer["id"] == 7 and answer["error"]["code"] == -32602 and "$rpc.callback" in answer["error"]["data"]
    assert queued(shared) == before


def test_a_bad_callback_in_a_batch(shared, transport):
    before = queued(shared)
    text = EXTENSION["batch: one bad callback does not spoil the rest"].replace("127.0.0.1", "10.0.0.1")
    first, second = sorted(json.loads(transport.ask(text.encode())), key=lambda a: a["id"])
    assert first["id"] == 1 and first["error"]["code"] == -32602
    assert second == {"jsonrpc": "2.0", "id": 2, "result": 7}
    assert queued(shared) == before


def test_every_escape_is_delivered_as_it_is(shared, transport, receiver):
    """Control characters, quotes, the line ends of Unicode, and what lies outside its first plane."""
    value = "".join(map(chr, range(0x20))) + '"\\/\x7f\x85\u2028\u2029\ufeff\ufffd\U0001f600'
    for escaped in (True, False):
        request = {"id": value, "method": "test.echo", "params": {"a": value, "$rpc.callback": receiver.url()}}
        transport.ask(json.dumps(request, ensure_ascii=escaped).encode())
    for p in receiver.wait(2):
        assert json.loads(p.body.decode("utf-8")) == {"id": value, "result": {"a": value}}
    until(lambda: shared.pending() == 0, 10, "nothing is left")
