# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests: a certificate authority, receivers, servers.

Run:  pytest tests/system            (after meson compile; RINGBACK=… picks the program)
Each test has its own folder, ports and processes, so they may run beside each other (`-n 3 --dist loadfile`
of pytest-xdist). What measures the machine rather than the server's behaviour (ratios of rates, memory, how much
is under way at once) is marked `alone`, and script/test runs it afterwards, one at a time."""
import sys
import pathlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lib.certs import CA  # noqa: E402
from lib.receiver import Receiver  # noqa: E402
from lib.server import Server, ringback, root  # noqa: E402
from lib.tokens import As, Callers  # noqa: E402


# Those that take longest, which begin first so that none is left over at the end.
LONGEST = ("fairness", "workers", "methods", "clock", "readme", "wss", "signatures", "ssrf", "hostile_receivers")


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: measures the machine, so nothing may run beside it")


def pytest_collection_modifyitems(items):
    def rank(item):
        name = item.path.stem.removeprefix("test_")
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)
    items.sort(key=rank)


@pytest.fixture(scope="session")
def ca(tmp_path_factory):
    return CA(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def cert(ca):
    return ca.issue("receiver")


@pytest.fixture
def make_receiver(cert):
    made = []

    def make(**kw):
        r = Receiver(kw.pop("cert", cert), **kw)
        r.start()
        made.append(r)
        return r
    yield make
    faults = [f for r in made for f in r.faults]
    for r in made:
        r.__exit__()
    assert not faults, faults


@pytest.fixture
def receiver(make_receiver):
    return make_receiver()


@pytest.fixture
def make_server(tmp_path, ca):
    made = []

    def make(options=None, start=True, folder=None, **kw):
        assert ringback().exists(), f"no program at {ringback()}: build first"
        s = Server(folder or tmp_path / f"server-{len(made)}", ca.pem, options, **kw)
        made.append(s)
        return s.start() if start else s
    yield make
    faults = []
    for s in made:
        try:
            s.close()
        except AssertionError as e:
            faults.append(str(e))
    assert not faults, "\n".join(faults)


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.fixture
def client(server):
    with server.client() as c:
        yield c


@pytest.fixture
def callers(tmp_path):
    return Callers(tmp_path / "tokens").add("alice").add("bob")


@pytest.fixture
def serve(make_server, callers):
    """A server that has the callers of the file."""
    def start(options=None):
        callers.write()
        return make_server({"auth.tokens_file": callers.path, **(options or {})})
    return start


@pytest.fixture
def as_caller(callers):
    """A client for one of them, or with any token, or with none."""
    made = []

    def make(server, name=None, token=None):
        made.append(As(server.port, token or (callers.tokens[name] if name else None)))
        return made[-1]
    yield make
    for c in made:
        c.close()


@pytest.fixture(scope="session")
def data():
    """A file of tests/data."""
    return lambda name: root() / "tests/data" / name
