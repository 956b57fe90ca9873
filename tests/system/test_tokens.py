# SPDX-License-Identifier: Apache-2.0
"""`ringback token`, `ringback call --token-file`, and the steps of docs/auth.md."""
import concurrent.futures
import re
import socket
import subprocess

import pytest

from lib.server import clean_env, ringback, root
from lib.tokens import hash_of, reload
from lib.wait import until
from test_cli import run

TOKEN = re.compile(r"rbk_[A-Za-z0-9_-]{43}\n")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "made"


def add(file, name, *words, code=0):
    return run("token", "add", name, "--file", file, *words, code=code)


def test_add_prints_the_token_once_and_keeps_its_hash(file):
    made = add(file, "shop")
    assert TOKEN.fullmatch(made.stdout)
    token = made.stdout.strip()
    assert token not in made.stderr and "Bearer" in made.stderr
    assert file.stat().st_mode & 0o7777 == 0o600
    assert f"hash = {hash_of(token)}\n" in file.read_text() and token not in file.read_text()
    assert [p.name for p in file.parent.glob("made*")] == ["made"]


def test_what_is_there_stays(file):
    file.write_text('# mine\n[token "a"]\nrate = 5/s # slow\n\n# b is new\n[token "b"]\nmax_pending = 7')
    file.chmod(0o600)
    before = file.read_text()
    add(file, "c", "--methods", "x.*,y", "--header", 'X-A: "1" # \\', "--rate", "9/m")
    assert file.read_text().startswith(before + "\n\n[token \"c\"]\nhash = ")
    assert run("token", "list", "--file", file).stdout == (
        "a  tokens=0  secrets=0  rate=5/s\nb  tokens=0  secrets=0  max_pending=7\n"
        "c  tokens=1  secrets=0  methods=x.*,y  headers=X-A  rate=9/m\n")
    run("token", "remove", "c", "--file", file)
    assert file.read_text() == before + "\n\n"
    run("token", "remove", "a", "--file", file)
    assert file.read_text() == '# mine\n\n# b is new\n[token "b"]\nmax_pending = 7\n\n'


def test_refuses(file):
    add(file, "shop")
    text = file.read_text()
    assert "already" in add(file, "shop", code=1).stderr
    assert "has no token" in run("token", "remove", "nobody", "--file", file, code=1).stderr
    for words, says in ((["x", "--rate", "fast"], "rate: is not a rate"), (["x", "--hosts", "a b"], "hosts: "),
                        (["x", "--header", "Host: a"], "written by ringback"), (["-x"], ""), (["a b"], "a name has"),
                        (["x", "--methods", "a\nhash = 1"], "line end"), ([""], "a name has")):
        assert says in add(file, *words, code=2).stderr, words
    assert file.read_text() == text
    file.chmod(0o644)
    assert "others than its owner" in add(file, "y", code=2).stderr
    run("token", code=2)
    run("token", "add", code=2)
    assert "--file, or the setting" in run("token", "list", code=2).stderr


def test_many_at_once(file):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: add(file, f"c{n}"), range(12)))
    names = {line.split()[0] for line in run("token", "list", "--file", file).stdout.splitlines()}
    assert names == {f"c{n}" for n in range(12)}


def test_through_the_settings_and_to_a_server(serve, callers, tmp_path):
    server = serve()
    setting = ("--set", f"auth.tokens_file={callers.path}")
    lines = run("token", "add", "shop", "--secret", *setting).stdout.splitlines()
    assert lines[1].startswith("whsec_") and lines[1] in callers.path.read_text()
    second = run("token", "add", "shop", "--second", *setting).stdout
    assert "tokens=2  secrets=1" in run("token", "list", *setting).stdout
    assert lines[1] not in run("token", "list", *setting).stdout
    shown = tmp_path / "shown"
    for text, code in ((lines[0], 0), (second, 0), ("rbk_other", 1)):
        shown.write_text(text)
        shown.chmod(0o600)
        if code == 0:
            reload(server)
        url = f"http://127.0.0.1:{server.port}/api"
        run("call", url, "test.echo", '{"a":1}', "--token-file", shown, code=code)
    shown.chmod(0o644)
    assert "others than its owner" in run("call", url, "test.echo", "--token-file", shown, code=2).stderr


def test_the_steps_of_the_docs(tmp_path):
    blocks = re.findall(r"^```sh\n(.*?)^```$", (root() / "docs/auth.md").read_text(), re.M | re.S)
    assert len(blocks) == 3
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    env = clean_env({"PATH": f"{ringback().parent}:/usr/bin:/bin", "RINGBACK_SERVER_LISTEN": f"127.0.0.1:{port}",
                     "RINGBACK_ADMIN_LISTEN": "", "RINGBACK_STORE_MIN_FREE": "1M"})
    shell = dict(cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, text=True)
    first = subprocess.run(["bash", "-euc", blocks[0]], capture_output=True, timeout=60, **shell)
    assert first.returncode == 0 and "shop  tokens=1" in first.stdout, first
    log = open(tmp_path / "log", "w")
    server = subprocess.Popen(["bash", "-euc", "exec " + blocks[1]], stdout=log, stderr=log, **shell)
    try:
        until(lambda: "server.listening" in (tmp_path / "log").read_text(), 20, "the server listens")
        last = subprocess.run(["bash", "-euxc", blocks[2].replace(":7600/", f":{port}/")], capture_output=True,
                              timeout=60, **shell)
        assert last.returncode == 0 and "rpc.job.get" in last.stdout, last
        assert "401" in last.stderr
    finally:
        server.terminate()
        server.wait(30)
        log.close()
