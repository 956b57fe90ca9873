# SPDX-License-Identifier: Apache-2.0
"""The address blocks of the program are those of the registries in tests/data: the table is
generated, and what is committed is what the generator makes today."""
import subprocess
import sys

from lib.server import root


def test_the_table_is_what_the_script_makes():
    made = subprocess.run([sys.executable, root() / "script/address-tables", "--print"], check=True,
                          capture_output=True, text=True).stdout
    assert made.count("    V4(") + made.count("    V6(") == 26 + 25 + 7
    assert (root() / "src/core/netpolicy_blocks.h").read_text() == made, "run script/address-tables"
