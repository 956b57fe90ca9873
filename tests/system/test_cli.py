# SPDX-License-Identifier: Apache-2.0
"""The command line: what each command prints, and how it ends."""
import json
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.request

import pytest

from lib.server import build, clean_env, ringback, root
from lib.wait import until

COMMANDS = ["serve", "demo", "listen", "call", "check-dsn", "config", "keygen", "jobs", "receivers",
            "stats", "store"]


def run(*words, env=None, cwd=None, code=0):
    p = subprocess.run([ringback(), *map(str, words)], env=clean_env(env or {}), cwd=cwd, timeout=60,
                       stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert p.returncode == code, (p.returncode, p.stdout, p.stderr)
    return p


def hang_up_ends():
    """A runner may ignore SIGHUP, and what it starts inherits that."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Running:
    """A command that stays up, with what it says in a file."""

    def __init__(self, folder, *words, env=None):
        self.out = folder / f"{words[0]}.out"
        with open(self.out, "wb") as f:
            self.proc = subprocess.Popen([ringback(), *map(str, words)], env=clean_env(env or {}), cwd=folder,
                                         preexec_fn=hang_up_ends, stdin=subprocess.DEVNULL, stdout=f, stderr=f)

    def text(self):
        return self.out.read_text(errors="replace")

    def wait_for(self, pattern, limit=20):
        def look():
            found = re.search(pattern, self.text(), re.M)
            assert found or self.proc.poll() is None, f"it ended with {self.proc.returncode}: {self.text()}"
            return found
        return until(look, limit, lambda: f"it says {pattern}: {self.text()}")

    def end(self, number=signal.SIGTERM):
        if self.proc.poll() is None:
            self.proc.send_signal(number)
        try:
            return self.proc.wait(60)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise AssertionError(f"it did not end: {self.text()}") from None


@pytest.fixture
def start(tmp_path):
    made = []

    def go(*words, **kw):
        made.append(Running(tmp_path, *words, **kw))
        return made[-1]
    yield go
    for r in made:
        r.end(signal.SIGKILL)
        assert "Sanitizer" not in r.text(), r.text()


@pytest.fixture
def listener(start, tmp_path):
    def go(*words):
        r = start("listen", "--port", 0, "--dir", tmp_path / "dev", *words)
        r.port = int(r.wait_for(r"https://127\.0\.0\.1:(\d+)/")[1])
        r.ca = tmp_path / "dev/ca.pem"
        return r
    return go


# --- help and faults of the words ----------------------------------------------

def test_version():
    assert re.fullmatch(r"ringback \d+\.\d+\.\d+\n", run("--version").stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command):
    assert f"  {command} " in run("--help").stdout
    text = run("help", command).stdout
    assert text.startswith(f"ringback {command} ")
    assert run(command, "--help").stdout == text


def test_help_of_serve_lists_every_setting():
    text = run("help", "serve").stdout
    for section, key in settings_of(run("config").stdout):
        assert f"  {section}.{key}=" in text


@pytest.mark.parametrize("words", [
    [], ["nothing"], ["help", "nothing"], ["serve", "word"], ["serve", "--nothing"], ["config", "-x"],
    ["config", "-c"], ["config", "--test=1"], ["call"], ["call", "http://127.0.0.1:1/"], ["check-dsn"],
    ["check-dsn", "a", "b"], ["call", "a", "b", "{}", "d"], ["listen", "--port", "65536"],
    ["listen", "--status", "199"], ["listen", "--delay", "1s"], ["demo", "--port", "x"],
    ["keygen", "word"], ["listen", "--public-key", "whpk_AAAA"], ["listen", "--secret-file", "/nonexistent"],
    ["config", "-c", "/nonexistent.ini"], ["config", "-c", "a", "-c", "b"], ["config", "--set", "server.path"],
    ["serve", "--set", "server.path=x"], ["serve", "--set", "no.such=1"],
    ["call", "http://127.0.0.1:1/", "m", "{"], ["call", "http://127.0.0.1:1/", "m", "7"],
    ["call", "ftp://127.0.0.1:1/", "m"],
], ids=" ".join)
def test_usage_faults(words):
    p = run(*words, code=2)
    assert p.stderr.startswith("ringback: ") and p.stdout == ""


# --- config -----------------------------------------------------------------------

def settings_of(text):
    section = None
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line:
            yield section, line.split("=")[0].strip()


def test_config_reads_back(tmp_path):
    first = run("config", "--set", "store.dsn=sqlite:a # b.db", "--set", 'method."A.*".timeout=90s',
                "--set", "server.max_body=2M").stdout
    (tmp_path / "c.ini").write_text(first)
    assert run("config", "-c", tmp_path / "c.ini").stdout == first
    assert 'dsn = "sqlite:a # b.db"\n' in first and "max_body = 2M\n" in first
    section = first[first.index('[method "A.*"]\n'):]
    assert "\nmodule =\n" in section and "\ntimeout = 90s\n" in section


def test_precedence(tmp_path):
    (tmp_path / "c.ini").write_text("[server]\npath = /file\nmax_batch = 1\nthreads = 1\n")
    text = run("config", "--set", "server.path=/set", "-c", tmp_path / "c.ini", "--set=server.threads=2",
               "--set", "server.threads=3",
               env={"RINGBACK_SERVER_PATH": "/env", "RINGBACK_SERVER_MAX_BATCH": "2"}).stdout
    assert "path = /set\n" in text and "max_batch = 2\n" in text and "threads = 3\n" in text


def test_config_test(tmp_path):
    good, bad = tmp_path / "good.ini", tmp_path / "bad.ini"
    good.write_text("[log]\nlevel = debug\n")
    bad.write_text("[log]\n\nlevel = loud\n")
    p = run("config", "-t", "-c", good)
    assert p.stdout == "good\n" and p.stderr == ""
    p = run("config", "-t", "-c", bad, code=2)
    assert p.stderr.startswith(f"ringback: {bad}:3: log.level: ") and len(p.stderr.splitlines()) == 1


@pytest.mark.parametrize("key, name", [
    ("delivery.ca_file", "no/ca.pem"), ('method."a.*".module', "./no.so"), ("delivery.ca_file", "/dev"),
])
def test_config_test_looks_at_files(key, name):
    for command in (["config", "-t"], ["serve", "--set", "admin.listen=", "--set", "server.listen=127.0.0.1:0", "--set", "store.dsn=memory:"]):
        p = run(*command, "--set", f"{key}={name}", code=2)
        assert p.stdout == "" and p.stderr.startswith(f"ringback: {key}: {name}: "), p.stderr
        assert p.stderr.count(name) == 1


@pytest.mark.parametrize("setting, says", [
    ("method.my.*.timeout=1s", 'method.my.*.timeout: unknown key; a pattern needs quotes: method."my.*".timeout'),
    ("method.my.*.nothing=1s", "method.my.*.nothing: unknown key"),
    ("callback.allow=10.1.2.3/8", 'callback.allow: "10.1.2.3/8" has bits set behind its prefix; the block is 10.0.0.0/8'),
    ("callback.deny=fd00::1/64", 'callback.deny: "fd00::1/64" has bits set behind its prefix; the block is fd00::/64'),
    ("callback.ports=0", 'callback.ports: "0" is not a port or range from 1 to 65535'),
])
def test_config_says_what_to_write(setting, says):
    assert run("config", "-t", "--set", setting, code=2).stderr == f"ringback: --set: {says}\n"


def test_config_of_a_pattern_without_quotes(tmp_path):
    (tmp_path / "c.ini").write_text("[method my.*]\ntimeout = 1s\n")
    assert 'c.ini:1: the pattern needs quotes: [method "' in run("config", "-c", tmp_path / "c.ini", code=2).stderr


def test_serve_with_a_file_as_a_word():
    assert "-c ringback.ini" in run("serve", "ringback.ini", code=2).stderr


def test_variable_of_no_setting():
    p = run("config", "-t", env={"RINGBACK_SERVER_PROT": "1"}, code=2)
    assert "RINGBACK_SERVER_PROT" in p.stderr


# --- check-dsn ----------------------------------------------------------------------

@pytest.mark.parametrize("dsn, reason, check", [
    ("", "must be a non-empty string", "text"),
    ("example.com/x", "must have a protocol", "protocol"),
    ("http://example.com/", "invalid protocol: http is not encrypted, use https", "protocol"),
    ("https://a@example.com/", "user info not allowed", "grammar"),
    ("https://example.com/#x", "invalid URL", "grammar"),
    ("https://example.com:22/", "port not allowed", "port"),
    ("https://localhost/", "host not allowed", "host"),
    ("https://127.0.0.1/", "address not allowed", "address"),
    ("https://[::1]/", "address not allowed", "address"),
])
def test_check_dsn_refuses(dsn, reason, check):
    first, second = run("check-dsn", dsn, code=1).stdout.splitlines()
    assert first == f"refused: {reason}"
    assert second.startswith(f"check: {check}")


def test_check_dsn_accepts_by_the_settings():
    assert run("check-dsn", "https://Example.com/x").stdout == "accepted\nreceiver: https://example.com:443\n"
    allow = ["--set", "callback.allow=127.0.0.0/8"]
    assert run("check-dsn", "https://127.0.0.1:8443/", *allow).stdout.startswith("accepted\n")
    p = run("check-dsn", "https://127.0.0.1:7600/", *allow, code=1)  # server.listen
    assert p.stdout.startswith("refused: address not allowed\n")


# --- listen and call -----------------------------------------------------------------

def test_listen_prints_callbacks(listener):
    r = listener("--status", 202)
    context = ssl.create_default_context(cafile=str(r.ca))
    for host in ("127.0.0.1", "localhost"):
        request = urllib.request.Request(f"https://{host}:{r.port}/a/b?c=d", b'{"x":"\x1b[31m\xc2\x9bm\xc3\xa9"}',
                                         {"webhook-id": f"id-{host}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            assert answer.status == 202
        r.wait_for(rf"[Ww]ebhook-[Ii]d: id-{host}$")
    text = r.text()
    assert len(re.findall(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z POST /a/b\?c=d -> 202$", text, re.M)) == 2
    assert r'{"x":"\x1b[31m\xc2\x9bmé"}' in text and "\x1b" not in text
    assert f"delivery.ca_file={r.ca}" in text
    assert r.end() == 0


def test_listen_refuses_other_methods(listener):
    r = listener()
    with pytest.raises(urllib.error.HTTPError) as e:
        urllib.request.urlopen(f"https://127.0.0.1:{r.port}/", timeout=20,
                               context=ssl.create_default_context(cafile=str(r.ca)))
    assert e.value.code == 405
    e.value.close()


def test_listen_keeps_its_authority(listener):
    first = listener()
    pem, key = first.ca.read_bytes(), first.ca.parent / "receiver.key"
    assert first.end(signal.SIGINT) == 0
    assert key.stat().st_mode & 0o777 == 0o600
    second = listener()
    assert second.ca.read_bytes() == pem


def test_listen_removes_its_temporary_folder(start, tmp_path):
    r = start("listen", "--port", 0, env={"TMPDIR": str(tmp_path)})
    ca = pathlib.Path(r.wait_for(r"^Certificate authority: (.*)$")[1])
    r.wait_for("goes when this ends; --dir")
    assert ca.exists() and ca.parent.parent == tmp_path
    assert r.end() == 0
    assert not ca.parent.exists()


def test_listen_prints_absolute_paths(start, tmp_path):
    r = start("listen", "--port", 0, "--dir", "dev")
    r.wait_for(rf"^  ca_file = {tmp_path.resolve()}/dev/ca\.pem$")
    assert "goes when" not in r.text()


def test_listen_names_the_folder_that_it_cannot_use(tmp_path):
    name = f"{tmp_path}/no/dev"
    assert run("listen", "--port", 0, "--dir", name, code=1).stderr.startswith(f"ringback: {name}: cannot be made: ")
    (tmp_path / "ca.pem").mkdir()
    assert run("listen", "--port", 0, "--dir", tmp_path, code=1).stderr.startswith(f"ringback: {tmp_path}: ca.pem: ")


def test_listen_ends_while_answers_wait(listener):
    r = listener("--delay", 60000)
    with socket.create_connection(("127.0.0.1", r.port)) as raw:
        with ssl.create_default_context(cafile=str(r.ca)).wrap_socket(raw, server_hostname="localhost") as s:
            s.sendall(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
            r.wait_for(r"POST /slow -> 200$")
            assert r.end() == 0


def test_listen_on_a_taken_port(listener):
    r = listener()
    assert str(r.port) in run("listen", "--port", r.port, code=1).stderr


def last_body(r):
    until(lambda: r.text().endswith("}\n"), 20, "the body is printed whole")
    return json.loads(r.text().splitlines()[-1])


@pytest.mark.parametrize("words, sent", [
    (["m"], {"id": 1, "method": "m"}),
    (["m", '{"a":1}'], {"id": 1, "method": "m", "params": {"a": 1}}),
    (["m", "[1]", "--id", "x"], {"id": "x", "method": "m", "params": [1]}),
    (["m", " {} ", "--callback", "https://h/"], {"id": 1, "method": "m", "params": {"$rpc.callback": "https://h/"}}),
    (["m", '{"a":1}', "--callback", "h"], {"id": 1, "method": "m", "params": {"$rpc.callback": "h", "a": 1}}),
    (["m", "[]", "--callback", 'h"'], {"id": 1, "method": "m", "params": [], "$rpc.callback": 'h"'}),
    (["m", '{"a":1}', "--callback", "h", "--failure-callback", "f", "--wait", "2.5", "--delay=0", "--run-timeout", "3",
      "--deadline", "2026-11-23T21:04:05Z", "--key", "7", "--idempotency-key", 'i"', "--receipt", "--progress"],
     {"id": 1, "method": "m", "params": {
         "$rpc.callback": "h", "$rpc.failureCallback": "f", "$rpc.wait": 2.5, "$rpc.delay": 0, "$rpc.timeout": 3,
         "$rpc.deadline": "2026-11-23T21:04:05Z", "$rpc.key": "7", "$rpc.idempotencyKey": 'i"', "$rpc.receipt": True,
         "$rpc.events": ["progress"], "a": 1}}),
    (["m", "{}", "--deadline", "1795000000.5"], {"id": 1, "method": "m", "params": {"$rpc.deadline": 1795000000.5}}),
    (["m", "[1]", "--receipt", "--wait", "1"], {"id": 1, "method": "m", "params": [1], "$rpc.receipt": True, "$rpc.wait": 1}),
    (["m", "--callback", "h", "--id", "-2.5"], {"id": -2.5, "method": "m", "$rpc.callback": "h"}),
])
def test_call_sends(listener, words, sent):
    r = listener()
    p = run("call", f"https://localhost:{r.port}/rpc?x=1", *words, "--ca", r.ca, code=1)
    assert "the answer is empty" in p.stderr
    assert r"POST /rpc?x=1" in r.text()
    assert last_body(r) == {"jsonrpc": "2.0", **sent}


@pytest.mark.parametrize("words, says", [
    (["--wait", "soon"], "--wait wants seconds, like 2.5; 'soon' is none"),
    (["--delay", "-1"], "--delay wants seconds, like 2.5; '-1' is none"),
    (["--run-timeout", "1e"], "--run-timeout wants seconds, like 2.5; '1e' is none"),
    (["--key", ""], "--key wants a value"), (["--deadline="], "--deadline wants a value"), (["--receipt=1"], "--receipt"),
    (["--idempotency-key"], "--idempotency-key"),
])
def test_call_with_a_bad_option(words, says):
    p = run("call", "http://127.0.0.1:1/", "m", *words, code=2)
    assert p.stderr.startswith("ringback: ") and says in p.stderr and p.stderr.count("\n") == 1


def test_call_with_service_parameters(server, receiver):
    """The server knows each of them, and says of a bad one which it is."""
    call = ["call", f"http://127.0.0.1:{server.port}/api", "demo.echo", "{}"]
    job = ["--callback", receiver.url(), "--failure-callback", receiver.url("/failed"), "--deadline", "4000000000",
           "--run-timeout", "5.5", "--idempotency-key", "i", "--key", "k", "--receipt"]
    first, again = (json.loads(run(*call, *job).stdout)["result"]["callback"]["data"][0]["job"] for _ in range(2))
    assert first == again
    assert json.loads(run(*call, "--callback", receiver.url(), "--wait", 20).stdout)["result"] == {}
    run(*call, "--callback", receiver.url(), "--delay", 86400)
    until(lambda: server.pending() == 1, 20, "the delayed one is left")
    for words, name in ((["--wait", 99], "wait"), (["--deadline", "soon"], "deadline"), (["--delay", 1, "--key", "k"], "key")):
        p = run(*call, "--callback", receiver.url(), *words, code=1)
        assert f"$rpc.{name}" in json.loads(p.stdout)["error"]["data"], p.stdout


def test_call_notification(listener):
    r = listener("--status", 204)
    p = run("call", f"https://127.0.0.1:{r.port}/", "m", "--notify", "--ca", r.ca)
    assert p.stdout == p.stderr == ""
    assert "id" not in last_body(r)


def test_call_that_fails(listener):
    r = listener("--status", 503, "--delay", 10)
    url = f"https://127.0.0.1:{r.port}/"
    assert "HTTP 503" in run("call", url, "m", "--ca", r.ca, code=1).stderr
    assert "verify failed" in run("call", url, "m", code=1).stderr
    assert "ca.pem" in run("call", url, "m", "--ca", r.ca.parent / "no/ca.pem", code=2).stderr
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        assert "refused" in run("call", f"http://127.0.0.1:{s.getsockname()[1]}/", "m", code=1).stderr


def test_call_that_is_not_answered_in_time():
    with socket.create_server(("127.0.0.1", 0)) as s:
        p = run("call", f"http://127.0.0.1:{s.getsockname()[1]}/", "m", "--timeout", 1, code=1)
    assert "Timed out" in p.stderr


def test_call_against_the_server(server):
    url = f"http://127.0.0.1:{server.port}/api"
    assert json.loads(run("call", url, "demo.echo", '{"a":1.50}').stdout)["result"] == {"a": 1.5}
    assert '"a":1.50' in run("call", url, "demo.echo", '{"a":1.50}').stdout
    assert json.loads(run("call", url, "no.such", code=1).stdout)["error"]["code"] == -32601
    assert run("call", url, "demo.echo", "--notify").stdout == ""


def test_call_with_a_callback_to_the_listener(listener, make_server):
    r = listener()
    server = make_server({"delivery.ca_file": str(r.ca)})
    p = run("call", f"http://127.0.0.1:{server.port}/api", "demo.echo", '{"a":[1.0]}', "--id", 7,
            "--callback", f"https://127.0.0.1:{r.port}/cb")
    assert json.loads(p.stdout)["result"]["callback"]["status"] is True
    r.wait_for(r"POST /cb -> 200$")
    assert last_body(r) == {"jsonrpc": "2.0", "id": 7, "result": {"a": [1.0]}}


# --- demo and serve --------------------------------------------------------------------

REQUEST = re.compile(r'^{"id":"example_order","method":"OrderService\.processOrder",'
                     r'"params":{"orderId":"12345","\$rpc\.callback":"(https://127\.0\.0\.1:\d+/order/callback)"}}$', re.M)
RESULT = ('{"id":"example_order","result":{"orderId":"12345","status":"completed","totalAmount":99.99,'
          '"message":"Your order has been processed successfully."}}')


def check_messages(text):
    url = REQUEST.search(text)[1]
    lines = text.splitlines()
    assert f'{{"id":"example_order","result":{{"callback":{{"url":"{url}","status":true,"data":[]}}}}}}' in lines
    assert RESULT in lines
    for what in (r"request +->", r"acknowledgement <- HTTP 200", r"callback +-> " + re.escape(url)):
        assert re.search(rf"^\d\d:\d\d:\d\d\.\d{{3}}  {what}", text, re.M), what


def test_demo_once(tmp_path):
    check_messages(run("demo", "--once", "--port", 0, env={"TMPDIR": str(tmp_path)}).stdout)
    assert list(tmp_path.iterdir()) == []


def test_demo_stays_up(start, tmp_path):
    d = start("demo", "--port", 0, env={"TMPDIR": str(tmp_path)})
    curl = d.wait_for(r"^  (curl -s \S+ -H 'Content-Type: application/json' \\\n    -d '.*')$")[1]
    check_messages(d.text())
    if shutil.which("curl"):
        answer = subprocess.run(curl, shell=True, timeout=30, capture_output=True, check=True).stdout
        assert json.loads(answer)["result"]["callback"]["status"] is True
        d.wait_for(r'^{"id":"my_order","result":{"orderId":"67890"')
    assert d.end(signal.SIGINT) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["demo.out"]


def test_demo_on_a_taken_port(server):
    text = run("demo", "--once", "--port", server.port, code=1).stderr
    assert f":{server.port}" in text and "--port 0" in text


def test_serve_checks_settings_on_sighup(tmp_path, make_server):
    ini = tmp_path / "extra.ini"
    ini.write_text("[server]\nmax_batch = 3\n")
    server = make_server(start=False)
    server.argv_before = server.argv
    server.argv = lambda: [*server.argv_before(), "-c", str(ini)]
    server.start()
    server.signal(signal.SIGHUP)
    server.wait_log(r"event=config\.reloaded")
    ini.write_text("[server]\nmax_batch = 0\n")
    server.signal(signal.SIGHUP)
    server.wait_log(r"level=error event=config\.refused detail=\".*extra\.ini:2: server\.max_batch: ")
    assert server.alive()
    server.stop()


def test_serve_raises_the_limit_of_files(server):
    limits = pathlib.Path(f"/proc/{server.pid}/limits").read_text()
    soft, hard = re.search(r"^Max open files +(\S+) +(\S+)", limits, re.M).groups()
    assert soft == hard


def test_serve_with_a_folder_that_is_not_there(tmp_path):
    p = run("serve", "--set", "admin.listen=", "--set", "server.listen=127.0.0.1:0", "--set", f"store.dsn=sqlite:{tmp_path}/no/such/a.db", code=2)
    assert "no/such" in p.stderr


def test_serve_with_a_file_that_is_no_store(tmp_path):
    (tmp_path / "a.db").write_bytes(b"no database " * 1000)
    p = run("serve", "--set", "admin.listen=", "--set", "server.listen=127.0.0.1:0", "--set", "store.dsn=sqlite:a.db", cwd=tmp_path, code=2)
    assert p.stderr.endswith(f"ringback: store.dsn: {tmp_path.resolve()}/a.db is not an SQLite database\n")


def serve_module(pattern, module):
    return run("serve", "--set", "admin.listen=", "--set", "server.listen=127.0.0.1:0", "--set", "store.dsn=memory:",
               "--set", f'method."{pattern}".module={module}', code=2).stderr


def test_serve_with_a_module_of_other_methods():
    assert "none of its methods (OrderService.processOrder, demo.echo, demo.sleep, demo.fail) matches" in \
        serve_module("other.*", build() / "examples/demo.so")


def test_serve_names_methods_that_no_section_wants(make_server):
    server = make_server({'method."demo.*".module': str(build() / "examples/demo.so")}, methods=False)
    line = server.wait_log(r"event=module\.unused method=(\S+) module=\S*demo\.so")
    assert line[1] == "OrderService.processOrder"
    assert server.log().count("event=module.unused") == 1


def test_serve_with_a_module_without_a_folder():
    text = serve_module("*", "nothing.so")
    assert text.startswith("ringback: module nothing.so: cannot open") and "written ./nothing.so" in text


def test_serve_with_a_module_that_is_no_module(tmp_path):
    (tmp_path / "a.so").write_text("text")
    assert serve_module("*", tmp_path / "a.so").count("a.so") == 1


def test_serve_with_a_module_that_is_not_there():
    p = run("serve", "--set", "admin.listen=", "--set", "server.listen=127.0.0.1:0", "--set", "store.dsn=memory:",
            "--set", 'method."*".module=./nothing.so', code=2)
    assert "nothing.so" in p.stderr


# --- the manual --------------------------------------------------------------------------

def test_manual():
    page = root() / "man/ringback.1"
    text = page.read_text()
    for command in COMMANDS:
        assert f"\n.Cm {command}\n" in text and f"\n.It Cm {command}\n" in text
    for flag in set(re.findall(r"--(\w+)", "".join(run("help", c).stdout for c in COMMANDS))):
        assert re.search(rf"Fl Fl {flag}\b|Fl {flag[0]}\b", text), flag
    if shutil.which("mandoc"):
        p = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, timeout=20)
        assert p.returncode == 0, p.stdout
