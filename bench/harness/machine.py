# SPDX-License-Identifier: Apache-2.0
"""Where and with what a run was made, as the machine's own tools say it."""
import os
import re
import subprocess

from .context import ROOT, file_system, find


def output(*argv):
    try:
        p = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (p.stdout + p.stderr).strip()


def first(pattern, text):
    m = re.search(pattern, text, re.M)
    return m.group(1).strip() if m else ""


def version(name, *args, pattern=r"(\d+\.[\w.]+)"):
    path = find(name)
    return first(pattern, output(path, *args)) if path else ""


def machine():
    cpu = output("lscpu")
    memory = first(r"MemTotal:\s+(\d+)", open("/proc/meminfo").read())
    system = first(r'PRETTY_NAME="(.*)"', open("/etc/os-release").read()) if os.path.exists("/etc/os-release") else ""
    virtual = first(r"Hypervisor vendor:\s+(.*)", cpu)
    return ", ".join(x for x in (
        f"{os.cpu_count()} cores of {first(r'Model name:(.*)', cpu) or os.uname().machine}" + (f" ({virtual} guest)" if virtual else ""),
        f"{int(memory) / (1 << 20):.0f} GiB", f"store on {file_system(os.environ.get('BENCH_DIR') or ROOT)}",
        system, f"{os.uname().sysname} {os.uname().release} {os.uname().machine}") if x)


def versions(program, peers):
    found = {"ringback": first(r"(\d\S*)", output(str(program), "--version")),
             "nginx": version("nginx", "-v"), "wrk": version("wrk", "--version", pattern=r"(\d\S+)"),
             "OpenSSL": version("openssl", "version"), "SQLite": version("sqlite3", "--version"), **peers}
    return ", ".join(f"{k} {v}" for k, v in found.items() if v)


def commit():
    if os.environ.get("RINGBACK"):
        return "of a program that RINGBACK named"
    changed = output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no", "--", ".",
                     ":!docs/performance.md")
    return "commit " + output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD") + (", changed since" if changed else "")


def load_average():
    return os.getloadavg()[0]
