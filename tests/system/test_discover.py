# SPDX-License-Identifier: Apache-2.0
"""rpc.discover, the descriptions that it shows, and the check of params against them."""
import json
import os
import shutil
import subprocess

import pytest

from lib.server import build, clean_env, ringback, root
from lib.wait import until

DESCRIBED = {
    "test.echo": {
        "description": "Gives its params back.",
        "params": {"type": "object", "required": ["sum"], "additionalProperties": False, "properties": {
            "note": {"type": ["string", "null"], "description": "For people."}, "sum": {"type": "integer"},
            "deep": {"type": "object", "properties": {"x": {"type": "string"}}}}},
        "result": {"type": "object", "properties": {"sum": {"type": "integer"}}},
    },
    "sum": {"params": {"type": "array", "minItems": 1, "items": {"type": "number"},
                       "prefixItems": [{"type": "number", "title": "first"}, {"type": "number"}]}},
    "test.whoami": {},
}


def describe(folder, methods=DESCRIBED, name="methods.json"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(methods if isinstance(methods, str) else json.dumps(methods))
    return str(path)


@pytest.fixture
def described(make_server, tmp_path):
    return make_server({'method."*".describe': describe(tmp_path)})


def discover(client):
    reply = client.post({"id": 1, "method": "rpc.discover"})
    assert reply.status == 200
    return reply.json["result"]


def by_name(doc):
    return {m["name"]: m for m in doc["methods"]}


# --- the document -----------------------------------------------------------------------------------
def test_document(described):
    with described.client() as c:
        doc = discover(c)
        assert discover(c) == doc
        assert c.call("rpc.discover", {}).json["result"] == doc
        assert c.call("rpc.discover", {"x": 1}).error["data"] == {"x": "unknown parameter"}
        assert c.post({"method": "rpc.discover"}).status == 204
    assert doc["openrpc"] == "1.3.2" and doc["info"]["title"] == "ringback" and doc["info"]["version"]
    methods = by_name(doc)
    names = [m["name"] for m in doc["methods"]]
    own = [n for n in names if n.startswith("rpc.")]
    assert own == ["rpc.discover", "rpc.job.ack", "rpc.job.cancel", "rpc.job.get", "rpc.job.wait"]
    assert names == sorted(set(names) - set(own)) + own and "demo.echo" in names
    assert all(m["x-callback"] is (not m["name"].startswith("rpc.")) for m in doc["methods"])
    order = methods["OrderService.processOrder"]
    assert order["description"] == "Processes an order and says what it cost."
    assert order["paramStructure"] == "by-name"
    assert order["params"] == [
        {"name": "orderId", "description": "Which order.", "required": True,
         "schema": {"type": "string", "description": "Which order."}},
        {"$ref": "#/components/contentDescriptors/ServiceParameters"}]
    assert order["result"]["schema"]["properties"]["totalAmount"] == {"type": "number"}
    echo = methods["test.echo"]
    assert [p.get("name") for p in echo["params"]] == ["sum", "note", "deep", None]
    assert [p.get("required") for p in echo["params"]] == [True, False, False, None]
    assert echo["x-params"] == DESCRIBED["test.echo"]["params"]
    assert methods["sum"]["paramStructure"] == "by-position"
    assert [(p["name"], p["required"]) for p in methods["sum"]["params"]] == [("first", True), ("1", False)]
    assert methods["test.whoami"]["paramStructure"] == methods["demo.echo"]["paramStructure"] == "either"
    assert methods["demo.echo"]["params"] == [] and methods["demo.echo"]["description"] == "Gives its params back."
    assert doc["x-patterns"] == []


def test_service_parameters_are_those_that_are_taken(make_server, receiver):
    """Each that is shown is taken, and the others are refused by name; ranges are as configured."""
    server = make_server({"method.max_timeout": "90s"})
    with server.client() as c:
        schema = discover(c)["components"]["schemas"]["ServiceParameters"]
        shown = schema["properties"]
        values = {"callback": receiver.url(), "failureCallback": receiver.url(), "timeout": 1, "wait": 0, "delay": 0,
                  "deadline": 4102444800, "idempotencyKey": "k", "key": "k", "receipt": True, "events": ["progress"],
                  "rayId": "r", "ignoreCache": True}
        for name, value in values.items():
            data = c.call("test.echo", {}, callback=receiver.url(), **({} if name == "callback" else {name: value})).json
            unknown = "error" in data and f"$rpc.{name}" in data["error"].get("data", {})
            assert (name in shown) is not unknown, (name, data)
            needs = "error" in c.call("test.echo", {}, **{name: value}).json
            if name in shown:
                assert needs is (name in schema["dependencies"]), name
        assert shown["timeout"]["minimum"] == 0.1 and shown["timeout"]["maximum"] == 90
        assert c.call("test.echo", {}, timeout=90).json["result"] == {}
        assert c.call("test.echo", {}, timeout=90.1).error["code"] == -32602


def test_methods_of_a_worker(make_server, receiver, tmp_path):
    """A pattern is no method; what a file describes of it is."""
    said = {"OrderService.processOrder": {"params": {"required": ["orderId"], "properties": {"orderId": {"type": "string"}}}}}
    section = 'method."OrderService.*".'
    options = {section + "module": None, section + "worker": f'"{root() / "examples/workers/orders.py"}"'}
    server = make_server(options)
    with server.client() as c:
        doc = discover(c)
        assert doc["x-patterns"] == ["OrderService.*"] and "OrderService.processOrder" not in by_name(doc)
    server.stop()
    server = make_server({**options, section + "describe": describe(tmp_path, said)})
    with server.client() as c:
        doc = discover(c)
        assert doc["x-patterns"] == ["OrderService.*"]
        assert by_name(doc)["OrderService.processOrder"]["x-params"] == said["OrderService.processOrder"]["params"]
        reply = c.call("OrderService.processOrder", {"orderId": 1}, callback=receiver.url())
        assert reply.error["data"] == {"orderId": "must be a string"}
        assert c.call("OrderService.processOrder", {"orderId": "12345"}).json["result"]["orderId"] == "12345"


VALIDATE_JS = """
const Ajv = require("ajv");
const meta = require("@open-rpc/meta-schema");
const schema = require("@json-schema-tools/meta-schema");
let text = "";
process.stdin.on("data", (d) => text += d).on("end", () => {
    const ajv = new Ajv({strict: false, allErrors: true, validateFormats: false});
    const json = schema.default || schema.JSONMetaSchema || schema;
    ajv.addSchema(JSON.parse(JSON.stringify(json)), "https://meta.json-schema.tools");
    const open = JSON.parse(JSON.stringify(meta.openrpcDocument || meta.default || meta));
    delete open["$schema"];
    const check = ajv.compile(open);
    for (const doc of JSON.parse(text))
        console.log(check(doc) ? "valid" : JSON.stringify(check.errors.slice(0, 5)));
});
"""


def test_meta_schema_of_openrpc(described, tmp_path):
    """The packages are installed by their names into the test's own folder."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("no node and npm")
    folder = tmp_path / "js"
    folder.mkdir()
    (folder / "package.json").write_text("{}")
    env = {**os.environ, "npm_config_cache": str(tmp_path / "npm-cache")}
    try:
        p = subprocess.run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "@open-rpc/meta-schema@1.14.9",
                            "@json-schema-tools/meta-schema", "ajv"],
                           cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not answer")
    if p.returncode != 0:
        pytest.skip("npm cannot install the meta-schema: " + p.stderr.strip()[-200:])
    with described.client() as c:
        doc = discover(c)
    broken = json.loads(json.dumps(doc))
    broken["methods"][0]["params"] = {}
    done = subprocess.run([node, "-e", VALIDATE_JS], cwd=folder, timeout=60, capture_output=True, text=True,
                          input=json.dumps([doc, broken]))
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "valid"
    assert "params" in second, "the check can fail"


# --- params -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("params, data", [
    ({}, {"sum": "is required"}),
    ({"note": "x"}, {"sum": "is required"}),
    ({"sum": "1"}, {"sum": "must be an integer"}),
    ({"sum": 1.5}, {"sum": "must be an integer"}),
    ({"sum": 1, "note": 2}, {"note": "must be a string or null"}),
    ({"sum": 1, "x": 2}, {"x": "is not a parameter of this method"}),
    ([1], {"params": "must be an object"}),
    (None, {"sum": "is required"}),
])
def test_params_that_do_not_fit(described, receiver, params, data):
    """Refused before the acknowledgement, and before a synchronous call is run."""
    with described.client() as c:
        for more in ({}, {"$rpc.callback": receiver.url("/never")}):
            reply = c.post({"id": 1, "method": "test.echo", "params": params, **more})
            assert reply.json == {"id": 1, "error": {"code": -32602, "message": "Invalid params", "data": data}}
            assert not reply.jobs
    assert described.pending() == 0


def test_params_that_fit(described, receiver):
    with described.client() as c:
        for text in (b'{"sum":1}', b'{"sum":1.0e0,"note":null,"deep":{"x":1}}', b'{"s\\u0075m":-1e2,"note":""}',
                     b'{"sum":123456789012345678901234567890}'):
            reply = c.post(b'{"id":1,"method":"test.echo","params":' + text + b"}")
            assert reply.body == b'{"id":1,"result":' + text + b"}"
        job = c.call("test.echo", {"sum": 2}, callback=receiver.url("/cb"), receipt=True).jobs[0]
        assert json.loads(receiver.wait(1, "/cb")[0].body)["result"] == {"sum": 2} and job
        assert c.post({"id": 1, "method": "sum", "params": [1, 2, 3]}).json["result"] == 6
        for params, data in (([], {"params": "has too few values"}), (["1"], {"0": "must be a number"}),
                             ({}, {"params": "must be an array"}), (None, {"params": "has too few values"})):
            assert c.post({"id": 1, "method": "sum", "params": params}).error["data"] == data
        assert c.call("OrderService.processOrder", {}).error["data"] == {"orderId": "is required"}
        reply = c.post([{"method": "test.echo", "params": {}}, {"id": 2, "method": "test.echo", "params": {"sum": 1}}])
        assert reply.json == [{"id": 2, "result": {"sum": 1}}]
    described.wait_log(r"notification\.refused method=test\.echo error=PARAMS")


# --- files and reload -------------------------------------------------------------------------------
def test_reload_takes_new_descriptions_and_refuses_broken_ones(described, tmp_path):
    with described.client() as c:
        assert c.call("test.echo", {}).error["code"] == -32602
        describe(tmp_path, {"test.echo": {"description": "Anew.", "params": {"required": ["other"]}}})
        described.signal(1)
        until(lambda: c.call("test.echo", {"other": 1}).json.get("result"), 20, "the new schema is used")
        assert c.call("test.echo", {"sum": 1}).error["data"] == {"other": "is required"}
        methods = by_name(discover(c))
        assert methods["test.echo"]["description"] == "Anew." and "x-params" not in methods["sum"]
        describe(tmp_path, {"test.echo": {"params": {"type": "objekt"}}})
        described.signal(1)
        line = described.wait_log(r"config\.refused.*")
        assert "test.echo: params: type must be" in line.group(0)
        assert c.call("test.echo", {"sum": 1}).error["data"] == {"other": "is required"}


@pytest.mark.parametrize("text, complaint", [
    ("[1]", "it is not a JSON object"),
    ("{", "it is not a JSON object"),
    ('{"test.echo":1}', "test.echo: it must be an object"),
    ('{"test.echo":{"parms":{}}}', "test.echo: it may have `description`"),
    ('{"test.echo":{"description":1}}', "test.echo: it may have `description`"),
    ('{"test.echo":{"params":{"properties":{"a":{"type":"int"}}}}}', "test.echo: params: type must be"),
    ('{"test.echo":{"result":1}}', "test.echo: result: it is no JSON Schema"),
    ('{"other.name":{}}', "other.name: it is no name of this section"),
    ('{"test.echo":{},"test.echo":{}}', "test.echo: it is described twice"),
    (json.dumps({"test.echo": {"description": "x" * 5000}}), "test.echo: description: it is longer than 4096 bytes"),
    ("large", "it is larger than 1M"),
])
def test_broken_files_stop_the_start(tmp_path, text, complaint):
    path = describe(tmp_path, " " * (1 << 20) + "{}" if text == "large" else text)
    p = subprocess.run([str(ringback()), "serve", "--set=server.listen=127.0.0.1:0", "--set=admin.listen=127.0.0.1:0",
                        "--set=store.dsn=memory:", f"--set=method.\"test.*\".module={build()}/tests/system/journal.so",
                        f"--set=method.\"test.*\".describe={path}"],
                       capture_output=True, text=True, timeout=60, env=clean_env())
    assert p.returncode == 2, p.stderr
    assert 'method."test.*".describe: ' in p.stderr and complaint in p.stderr


def test_a_module_of_an_older_abi_is_refused(tmp_path):
    """It calls what modules of ABI 1 called, whose methods had no schemas."""
    cc = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not cc:
        pytest.skip("no C compiler")
    (tmp_path / "old.c").write_text("""
        struct method { const char *name; void (*fn)(void *, void *); void *user; unsigned flags; const char *about; };
        int rbk_module_method(void *m, const struct method *method);
        static void run(void *call, void *user) { (void)call; (void)user; }
        int ringback_module_init(void *m) {
            static const struct method one = {"old.one", run, 0, 0, 0};
            return rbk_module_method(m, &one);
        }""")
    subprocess.run([cc, "-shared", "-fPIC", "-o", str(tmp_path / "old.so"), str(tmp_path / "old.c")], check=True, timeout=60)
    p = subprocess.run([str(ringback()), "serve", "--set=server.listen=127.0.0.1:0", "--set=admin.listen=127.0.0.1:0",
                        "--set=store.dsn=memory:", f"--set=method.\"old.*\".module={tmp_path}/old.so"],
                       capture_output=True, text=True, timeout=60, env=clean_env())
    assert p.returncode == 2, p.stderr
    assert "it was built for module ABI 1, this is ringback with 2: build it again" in p.stderr
