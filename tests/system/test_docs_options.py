# SPDX-License-Identifier: Apache-2.0
"""docs/configuration.md has the program's own table of settings."""
import re
import subprocess

from lib.server import clean_env, ringback, root

TABLE = re.compile(r"^<!-- settings: .*? -->\n(.*?)^<!-- end of settings -->$", re.M | re.S)


def printed():
    return subprocess.run([ringback(), "config", "--doc"], env=clean_env(), check=True, timeout=20,
                          capture_output=True, text=True).stdout


def test_table_is_up_to_date():
    page = (root() / "docs/configuration.md").read_text()
    table = TABLE.search(page)
    assert table, "the page has its two markers"
    assert table[1].strip() == printed().strip(), "run script/docs-options"


def test_every_setting_has_a_row():
    settings = subprocess.run([ringback(), "config"], env=clean_env(), check=True, timeout=20,
                              capture_output=True, text=True).stdout
    keys = re.findall(r"^(\w+) =", settings, re.M)
    assert len(keys) > 20
    for key in keys:
        assert f"| `{key}` |" in printed()
