# SPDX-License-Identifier: Apache-2.0
"""docs/performance.md: explained by hand, figures put in by `bench/run --write`.

A place is what stands between `<!-- bench NAME -->` and `<!-- end NAME -->`. Only the
places of benches that ran are replaced."""
import datetime
import os
import re

from .context import ROOT
from .machine import commit
from .processes import Wrong

PAGE = ROOT / "docs/performance.md"


def replace(page, name, text):
    pattern = re.compile(rf"(<!-- bench {name} -->\n).*?(<!-- end {name} -->)", re.S)
    if not pattern.search(page):
        raise Wrong(f"the page has no place for {name}: <!-- bench {name} --> … <!-- end {name} -->")
    return pattern.sub(lambda m: m.group(1) + text + "\n" + m.group(2), page)


def write(path, name, text, where, what, busy, command):
    page = path.read_text()
    day = datetime.date.today().isoformat()
    page = replace(page, name, f"{text}\n\n`bench/run {' '.join(command)}`, {day}, {commit()}; load "
                               f"average before it {busy:.1f}.")
    page = replace(page, "machine", f"{where}\n\n{what}")
    new = path.with_name(path.name + ".new")
    new.write_text(page)
    os.replace(new, path)
