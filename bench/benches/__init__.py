# SPDX-License-Identifier: Apache-2.0
"""One module a bench: `TITLE`, and `run(b)`, which answers rows of figures."""
