# SPDX-License-Identifier: Apache-2.0
"""nginx: a fixed answer to every POST, plain and over TLS; it also counts what came."""
import os
import re
import socket

from .load import Client
from .processes import Wrong, wait_for

ACKNOWLEDGEMENT = ('{"id":1,"result":{"callback":{"url":"https://127.0.0.1:9443/order/callback",'
                   '"status":true,"data":[]}}}')


def free_port(host="127.0.0.1"):
    with socket.socket() as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Nginx:
    def __init__(self, b, answer=ACKNOWLEDGEMENT, http2=False, more=""):
        from .context import ROOT, tool
        self.bench = b
        self.folder = b.folder / f"nginx-{b.next()}"
        self.folder.mkdir()
        cert = b.certificate()
        self.ca = cert.with_suffix(".crt")
        for _ in range(5):  # a port that was free may be taken a moment later
            self.plain, self.tls = free_port(), free_port()
            text = (ROOT / "bench/nginx.conf").read_text()
            for key, value in (("MORE", more), ("FOLDER", self.folder), ("CERT", cert), ("PLAIN", self.plain),
                               ("TLS", self.tls), ("ANSWER", answer), ("HTTP2", "http2" if http2 else ""),
                               ("USER", "user root;" if os.geteuid() == 0 else "")):
                text = text.replace(f"@{key}@", str(value))
            conf = self.folder / "nginx.conf"
            conf.write_text(text)
            self.process = p = b.processes.spawn([tool("nginx"), "-p", self.folder, "-c", conf, "-g", "daemon off;"],
                                                 f"{self.folder.name}.log")
            wait_for(lambda: listening(self.tls) or p.poll() is not None, 10, "nginx listens")
            if p.poll() is None:
                break
        else:
            raise Wrong(p.log.read_text())
        self.url = f"http://127.0.0.1:{self.plain}/api"
        self.tls_url = f"https://127.0.0.1:{self.tls}/order/callback"
        self.status = Client(f"http://127.0.0.1:{self.plain}/status")
        self.asked = 0

    def received(self):
        """Requests that nginx has seen, without those of this function."""
        text = self.status.request("GET")[1].decode()
        self.asked += 1
        return int(re.search(r"requests\s+\d+ \d+ (\d+)", text).group(1)) - self.asked

    def end(self):
        self.status.sock.close()
        self.bench.processes.end(self.process)
