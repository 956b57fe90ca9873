# SPDX-License-Identifier: Apache-2.0
"""The benches work: each starts, counts, finds its own checks satisfied, and leaves nothing behind. Figures
are for a quiet machine, so none is looked at here."""
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from lib.server import clean_env, ringback, root
from lib.wait import until

RUN = root() / "bench/run"
MISSING = [t for t in ("nginx", "wrk", "openssl", "cc") if not shutil.which(t, path=os.environ["PATH"] + ":/usr/sbin")]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)} (script/bootstrap)")


def bench(tmp_path, *args):
    env = clean_env({"BENCH_DIR": str(tmp_path), "RINGBACK": str(ringback())})
    return subprocess.Popen([sys.executable, str(RUN), *args], env=env, cwd=tmp_path, text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def of_folder(folder):
    """Processes whose command line or working folder is in there."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as f:
                if str(folder) in f.read() or os.readlink(f"/proc/{pid}/cwd").startswith(str(folder) + "/"):
                    found.append(int(pid))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", re.search(r"STANDARD = \((.*?)\)", RUN.read_text(), re.S).group(1).replace('"', "").split(", "))
def test_a_bench_counts_what_it_says(tmp_path, name):
    p = bench(tmp_path, "--quick", "--no-peers", name)
    out, err = p.communicate(timeout=400)
    assert p.returncode == 0, err
    rows = [line for line in out.splitlines() if line.startswith("| ")][1:]
    assert rows and all(re.search(r"\| [\d,.]+", r) for r in rows), out
    assert not list(tmp_path.iterdir()) and not of_folder(tmp_path)


def test_an_answer_that_is_no_success_ends_the_bench(tmp_path):
    """JSON-RPC errors come with status 200; the look at one answer before the load finds them."""
    p = bench(tmp_path, "--quick", "--no-peers", "acks", "--set", "callback.deny=127.0.0.0/8")
    out, err = p.communicate(timeout=400)
    assert p.returncode == 1 and "address not allowed" in err, (out, err)
    assert not list(tmp_path.iterdir()) and not of_folder(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bench_leaves_nothing(tmp_path, number):
    p = bench(tmp_path, "--no-peers", "sync")
    until(lambda: any(tmp_path.glob("build-bench-*/ringback-*.log")), 60, "ringback was started")
    p.send_signal(number)
    assert p.wait(60) == 128 + number
    assert not list(tmp_path.iterdir()) and not of_folder(tmp_path)


def test_a_table_goes_to_its_place_on_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Before.\n<!-- bench machine -->\n<!-- end machine -->\nBetween.\n<!-- bench acks -->\nold\n"
                    "<!-- end acks -->\n<!-- bench sync -->\nkept\n<!-- end sync -->\nAfter.\n")
    sys.path.insert(0, str(root() / "bench"))
    from harness import document
    document.write(page, "acks", "| a |", "a machine", "versions", 0.1, ["acks", "--rounds", "5"])
    text = page.read_text()
    assert "a machine\n\nversions\n<!-- end machine -->\nBetween." in text and "\nkept\n" in text
    assert "<!-- bench acks -->\n| a |\n\n`bench/run acks --rounds 5`" in text and "old" not in text
    for part in ("Before.\n", "\nAfter.\n"):
        assert part in text


def test_the_page_has_a_place_for_each_bench():
    names = re.search(r"STANDARD = \((.*?)\)", RUN.read_text(), re.S).group(1).replace('"', "").split(", ")
    page = (root() / "docs/performance.md").read_text()
    for name in ("machine", *names):
        assert re.search(rf"<!-- bench {name} -->\n.*?<!-- end {name} -->", page, re.S), name
