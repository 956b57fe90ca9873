# SPDX-License-Identifier: Apache-2.0
"""What the benches share: processes, nginx, ringback, peers, wrk, figures, the page of results."""
