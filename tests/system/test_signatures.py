# SPDX-License-Identifier: Apache-2.0
"""Signatures of deliveries, judged by code that shares nothing with the server's: Python's
hmac, the Ed25519 of `cryptography`, and the JavaScript package of Standard Webhooks."""
import base64
import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lib.receiver import Answer
from lib.wait import until
from test_cli import listener, run, start  # noqa: F401 (fixtures)

JWKS = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n"


def keygen(*words):
    return run("keygen", *words).stdout


def signed_text(post):
    h = post.headers
    return f"{h['webhook-id']}.{h['webhook-timestamp']}.".encode() + post.body


def signatures(post, version):
    return [s.split(",", 1)[1] for s in post.headers["webhook-signature"].split(" ")
            if s.startswith(version + ",")]


def fits_hmac(post, secret):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    want = base64.b64encode(hmac.new(key, signed_text(post), hashlib.sha256).digest()).decode()
    return want in signatures(post, "v1")


def fits_ed25519(post, public):
    for s in signatures(post, "v1a"):
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(s), signed_text(post))
            return True
        except InvalidSignature:
            pass
    return False


def public_of(key_text):
    """The public key of a file of keys, from the seed; the comment must say the same."""
    line = [x for x in key_text.splitlines() if x.startswith("whsk_")][0]
    pair = base64.b64decode(line.removeprefix("whsk_"))
    public = Ed25519PrivateKey.from_private_bytes(pair[:32]).public_key().public_bytes(
        Encoding.Raw, PublicFormat.Raw)
    assert len(pair) == 64 and pair[32:] == public
    comment = [x for x in key_text.splitlines() if x.startswith("# whpk_")]
    assert not comment or base64.b64decode(comment[0].removeprefix("# whpk_")) == public
    return public


def write_secrets(path, *lines, mode=0o600):
    path.write_text("# keys of the test\n\n" + "".join(line.strip() + "\n" for line in lines))
    path.chmod(mode)


def get_keys(client):
    client.send(JWKS)
    reply = client.receive()
    assert reply.status == 200 and reply.headers["content-type"] == "application/json", reply
    return reply.json["keys"]


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def deliver(server, receiver, path="/cb", n=1):
    with server.client() as c:
        assert c.call("test.echo", {"x": 99.99, "t": "ü"}, callback=receiver.url(path)).jobs
    return receiver.wait(n, path)[-1]


# --- the key that is made at the first start --------------------------------------------

def test_signed_from_the_first_start(make_server, receiver):
    server = make_server()
    key = pathlib.Path(f"{server.store}.key")
    assert key.stat().st_mode & 0o7777 == 0o600
    text = key.read_text()
    post = deliver(server, receiver)
    assert abs(int(post.headers["webhook-timestamp"]) - time.time()) < 60
    assert len(post.headers["webhook-signature"].split(" ")) == 1
    assert fits_ed25519(post, public_of(text))
    server.restart()
    assert key.read_text() == text, "the key outlives a restart"
    assert fits_ed25519(deliver(server, receiver, "/again"), public_of(text))
    assert [p.name for p in server.folder.glob("*.key*")] == [key.name]
    server.stop()


def test_the_public_key_is_published(server, receiver):
    public = public_of(pathlib.Path(f"{server.store}.key").read_text())
    with server.client() as c:
        keys = get_keys(c)
        x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
        thumb = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
        kid = base64.urlsafe_b64encode(thumb).rstrip(b"=").decode()
        assert keys == [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "use": "sig"}]
    post = deliver(server, receiver)
    assert fits_ed25519(post, from_base64url(keys[0]["x"]))


def test_other_methods_than_get(server):
    with server.client() as c:
        n = len(c.send(JWKS) or c.receive().body)
        c.send(JWKS.replace(b"GET", b"HEAD"))
        until(lambda: c._more() or b"\r\n\r\n" in c.buf, 10, "the head")
        assert c.buf.endswith(b"\r\n\r\n") and f"content-length: {n}\r\n".encode() in c.buf.lower()
        c.close()
        for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS"):
            c.send(JWKS.replace(b"GET", method))
            reply = c.receive()
            assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD"), reply
        c.send(JWKS.replace(b"/.well-known/jwks.json", b"/api"))
        assert (reply := c.receive()).status == 405 and reply.headers["allow"] == "POST"
        c.send(JWKS.replace(b".json", b".jso"))
        assert c.receive().status == 404


def test_memory_store_has_a_key_of_its_own(make_server, receiver):
    server = make_server({"store.dsn": "memory:"})
    with server.client() as c:
        first = get_keys(c)
    assert fits_ed25519(deliver(server, receiver), from_base64url(first[0]["x"]))
    server.signal(signal.SIGHUP)
    server.wait_log(r"event=config\.reloaded")
    with server.client() as c:
        assert get_keys(c) == first, "SIGHUP does not forget it"
    assert list(server.folder.glob("*.key")) == []
    server.stop()


def test_named_key_file(make_server, receiver, tmp_path):
    path = tmp_path / "signing.key"
    path.write_text(keygen("--ed25519"))
    path.chmod(0o400)
    server = make_server({"signing.key_file": str(path)})
    assert fits_ed25519(deliver(server, receiver), public_of(path.read_text()))
    assert not pathlib.Path(f"{server.store}.key").exists()
    server.stop()


# --- attempts -----------------------------------------------------------------------------

def test_each_attempt_is_signed_anew(make_server, receiver, tmp_path):
    secret = keygen().strip()
    write_secrets(tmp_path / "secrets", secret)
    server = make_server({"signing.secret_file": str(tmp_path / "secrets"), "delivery.schedule": "1100ms",
                          "delivery.max_age": "1m", "delivery.jitter": "0"})
    receiver.on("/cb", Answer(500), Answer(500), Answer(200))
    deliver(server, receiver, n=3)
    posts = receiver.at("/cb")
    assert len({p.webhook_id for p in posts}) == 1 and len({p.body for p in posts}) == 1
    times = [int(p.headers["webhook-timestamp"]) for p in posts]
    assert times == sorted(set(times))
    assert len({p.headers["webhook-signature"] for p in posts}) == 3
    public = public_of(pathlib.Path(f"{server.store}.key").read_text())
    for p in posts:
        assert "." not in p.webhook_id
        assert fits_hmac(p, secret) and fits_ed25519(p, public)
        changed = type(p)(p.ns, p.head, p.body.replace(b"99.99", b"99.98"), p.conn, p.answer)
        assert not fits_hmac(changed, secret) and not fits_ed25519(changed, public)
    server.stop()


def test_keys_change_without_a_restart(make_server, receiver, tmp_path):
    path, old, new = tmp_path / "secrets", keygen().strip(), keygen().strip()
    third = keygen("--ed25519")
    write_secrets(path, old)
    server = make_server({"signing.secret_file": str(path)})

    def reload(pattern):
        """The lines about signing that one SIGHUP gives."""
        n = len(server.log())
        server.signal(signal.SIGHUP)
        until(lambda: re.search(pattern, server.log()[n:]), 20, lambda: f"the log says {pattern}: {server.log()[n:]}")
        return [x for x in server.log()[n:].splitlines() if "signing." in x]
    post = deliver(server, receiver, "/1")
    assert fits_hmac(post, old) and not fits_hmac(post, new)
    write_secrets(path, old, new, third)
    reload(r"event=signing\.keys hmac=2 ed25519=2")
    post = deliver(server, receiver, "/2")
    assert fits_hmac(post, old) and fits_hmac(post, new) and fits_ed25519(post, public_of(third))
    assert len(signatures(post, "v1")) == 2 and len(signatures(post, "v1a")) == 2
    with server.client() as c:
        assert public_of(third) in [from_base64url(k["x"]) for k in get_keys(c)]
    write_secrets(path, new)
    reload(r"event=signing\.keys hmac=1 ed25519=1")
    post = deliver(server, receiver, "/3")
    assert fits_hmac(post, new) and not fits_hmac(post, old) and not fits_ed25519(post, public_of(third))
    for fault in (lambda: write_secrets(path, new, "whsec_tooshort"), lambda: write_secrets(path, old, mode=0o644),
                  path.unlink):
        fault()
        assert len(reload(r"level=error event=signing\.refused detail=\"?\S*secrets")) == 1
        assert new not in server.log() and "tooshort" not in server.log()
    post = deliver(server, receiver, "/4")
    assert fits_hmac(post, new) and len(signatures(post, "v1")) == 1, "the old keys go on"
    server.stop()


def test_keys_change_under_load(make_server, receiver, tmp_path):
    path, old, new = tmp_path / "secrets", keygen().strip(), keygen().strip()
    write_secrets(path, old)
    server = make_server({"signing.secret_file": str(path)})
    with server.client() as c:
        for i in range(300):
            if i % 30 == 0:
                write_secrets(path, *((old, new) if i % 60 == 0 else (new, old)))
                server.signal(signal.SIGHUP)
            c.call("test.echo", {"i": i}, callback=receiver.url())
    for p in receiver.wait(300):
        assert fits_hmac(p, old) or fits_hmac(p, new)
    server.stop()


# --- files that will not do -------------------------------------------------------------------

@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o666])
def test_files_that_others_may_read_are_refused(tmp_path, mode):
    path = tmp_path / "keys"
    write_secrets(path, keygen("--ed25519").splitlines()[1], mode=mode)
    for option in ("signing.secret_file", "signing.key_file"):
        p = run("serve", "--set", "admin.listen=", "--set", "server.listen=127.0.0.1:0", "--set", "store.dsn=memory:",
                "--set", f"{option}={path}", code=2)
        assert f"{path}: others than its owner may read or write it (mode {mode:04o})" in p.stderr
        assert "whsk_" not in p.stderr
    assert "others than its owner" in run("listen", "--secret-file", path, code=2).stderr


@pytest.mark.parametrize("option, line, why", [
    ("secret_file", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "line 3: not a key that begins with whsec_ or whsk_"),
    ("secret_file", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRY=", "line 3: a whsec_ key has 24 to 64 bytes"),
    ("secret_file", "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", "line 3: a whpk_ key cannot sign"),
    ("key_file", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "line 3: a whsec_ key is not for this place"),
    ("key_file", "", "holds no key"),
])
def test_files_with_something_else(tmp_path, option, line, why):
    path = tmp_path / "keys"
    write_secrets(path, line)
    p = run("serve", "--set", "admin.listen=", "--set", "server.listen=127.0.0.1:0", "--set", "store.dsn=memory:",
            "--set", f"signing.{option}={path}", code=2)
    assert p.stderr.splitlines()[-1].endswith(f"{path}: {why}")
    assert not line or line not in p.stderr


def test_files_that_are_none(tmp_path):
    for path, why in ((tmp_path, "is no file"), (tmp_path / "no", "No such file")):
        p = run("serve", "--set", "admin.listen=", "--set", "server.listen=127.0.0.1:0", "--set", "store.dsn=memory:",
                "--set", f"signing.secret_file={path}", code=2)
        assert why in p.stderr
    p = run("serve", "--set", "admin.listen=", "--set", "server.listen=127.0.0.1:0", "--set", "store.dsn=memory:",
            "--set", f"signing.key_file={tmp_path}/no/such/key", code=1)
    assert "cannot make the key file" in p.stderr


def test_a_key_in_place_of_its_file_is_not_repeated():
    secret = keygen().strip()
    p = run("config", "--set", f"signing.secret_file={secret}", code=2)
    assert "signing.secret_file: is a key" in p.stderr and secret not in p.stderr + p.stdout


# --- a canary ------------------------------------------------------------------------------------

def test_secrets_are_nowhere(make_server, receiver, tmp_path):
    path, secret, pair = tmp_path / "secrets", keygen().strip(), keygen("--ed25519").splitlines()[1]
    write_secrets(path, secret, pair)
    server = make_server({"signing.secret_file": str(path), "log.level": "debug", "delivery.schedule": "100ms,1h"})
    receiver.on("/dead", Answer(500))
    deliver(server, receiver, "/dead", n=2)
    post = deliver(server, receiver)
    assert fits_hmac(post, secret)
    with server.client() as c:
        seen = [json.dumps(get_keys(c)), c.post(b"{").body.decode(), c.call("no.such").body.decode()]
    for text in ("whsec_\n", secret + "x\n"):
        path.write_text(text)
        server.signal(signal.SIGHUP)
    server.wait_log(r"event=signing\.refused")
    for name in ("cmdline", "environ"):
        seen.append(pathlib.Path(f"/proc/{server.pid}/{name}").read_bytes().decode(errors="replace"))
    seen.append(run("config", "--set", f"signing.secret_file={path}").stdout)
    server.stop()
    seen.append(server.log())
    made = pathlib.Path(f"{server.store}.key")
    canaries = [secret, pair, [x for x in made.read_text().splitlines() if x.startswith("whsk_")][0]]
    seen += [p.read_bytes().decode("latin-1") for p in server.folder.iterdir() if p != made and p.is_file()]
    for canary in canaries:
        bare = canary.split("_", 1)[1]
        for form in (bare.rstrip("="), base64.b64decode(bare).hex(), base64.b64decode(bare).decode("latin-1")):
            assert not [s for s in seen if form in s]


# --- the commands, and the package of others ---------------------------------------------------------

def test_keygen():
    made = [keygen() for _ in range(4)]
    assert len(set(made)) == 4
    assert {len(base64.b64decode(m.strip().removeprefix("whsec_"))) for m in made} == {32}
    first, second = keygen("--ed25519"), keygen("--ed25519")
    assert first != second and public_of(first) != public_of(second)
    assert first.startswith("# whpk_")


def test_listen_verifies(listener, make_server, tmp_path):  # noqa: F811
    path, pair = tmp_path / "secrets", keygen("--ed25519")
    write_secrets(path, keygen())
    r = listener("--public-key", pair.splitlines()[0].removeprefix("# "), "--secret-file", path)
    server = make_server({"delivery.ca_file": str(r.ca), "signing.secret_file": str(path)})

    def send(to, verdict):
        with server.client() as c:
            c.call("test.echo", {}, callback=f"https://127.0.0.1:{r.port}/{to}")
        r.wait_for(rf"POST /{to} -> 200\n(  (?!signature).*\n)*  signature: {verdict}$")
    send("a", "verified")
    write_secrets(path, pair.splitlines()[1])
    server.signal(signal.SIGHUP)
    server.wait_log(r"event=signing\.keys hmac=0 ed25519=2")
    send("b", "verified")
    write_secrets(path, keygen())
    server.signal(signal.SIGHUP)
    server.wait_log(r"(?s)ed25519=2\n.*event=signing\.keys hmac=1 ed25519=1")  # not the start's line
    send("c", "NOT VERIFIED: no signature is of a known key")
    context = ssl.create_default_context(cafile=str(r.ca))
    request = urllib.request.Request(f"https://127.0.0.1:{r.port}/d", b"{}")
    urllib.request.urlopen(request, context=context, timeout=20).close()
    r.wait_for(r"  signature: NOT VERIFIED: webhook-id is absent or malformed$")
    assert r.end() == 0


def test_demo_shows_the_verdict(tmp_path):
    out = run("demo", "--once", "--port", 0, env={"TMPDIR": str(tmp_path)}).stdout
    assert "\nwebhook-signature: verified (v1a, ed25519)\n" in out


VERIFY_JS = """
const { Webhook } = require("standardwebhooks");
const { secret, other, posts } = JSON.parse(require("fs").readFileSync(0, "utf8"));
for (const { headers, body } of posts) {
    const value = new Webhook(secret).verify(body, headers);
    if (JSON.stringify(value) !== JSON.stringify(JSON.parse(body))) throw new Error("another value");
    for (const wrong of [() => new Webhook(other).verify(body, headers),
                         () => new Webhook(secret).verify(body + " ", headers)]) {
        let refused = false;
        try { wrong(); } catch (e) { refused = true; }
        if (!refused) throw new Error("not refused");
    }
}
console.log(posts.length + " verified");
"""


def test_package_of_standard_webhooks(make_server, receiver, tmp_path):
    """The package is installed by its name into the test's own folder."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("no node and npm")
    folder = tmp_path / "js"
    folder.mkdir()
    (folder / "package.json").write_text("{}")
    env = {**os.environ, "npm_config_cache": str(tmp_path / "npm-cache")}
    try:
        p = subprocess.run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "standardwebhooks"],
                           cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not answer")
    if p.returncode != 0:
        pytest.skip("npm cannot install standardwebhooks: " + p.stderr.strip()[-200:])
    secret, other = keygen().strip(), keygen().strip()
    write_secrets(tmp_path / "secrets", keygen(), secret)
    server = make_server({"signing.secret_file": str(tmp_path / "secrets"), "delivery.schedule": "100ms",
                          "delivery.max_age": "1m"})
    receiver.on("/retry", Answer(500), Answer(200))
    deliver(server, receiver)
    deliver(server, receiver, "/retry", n=2)
    posts = [{"headers": p.headers, "body": p.body.decode()} for p in receiver.posts]
    done = subprocess.run([node, "-e", VERIFY_JS], cwd=folder, timeout=60, capture_output=True, text=True,
                          input=json.dumps({"secret": secret, "other": other, "posts": posts}))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 verified\n"
    server.stop()
