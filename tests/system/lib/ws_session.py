# SPDX-License-Identifier: Apache-2.0
"""A client whose callbacks are its own websocket: what comes on it, sorted, and the token to come back with."""
from .wait import until
from .ws_client import WsClient


class Session(WsClient):
    def __init__(self, port, resume=None, token=None, **kw):
        headers = dict(kw.pop("headers", {}))
        if resume:
            headers["Ringback-Resume"] = resume
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self.answers, self.late, self.progress = {}, [], []
        super().__init__(port, headers=headers, **kw)
        self.resume = self.headers["ringback-resume"]

    def read(self):
        """One more message, to where it belongs."""
        m = self.message()
        if isinstance(m, list):
            self.answers["batch"] = m
        elif "ringback" in m:
            self.late.append(m)
        elif "method" in m:
            assert m["method"] == "rpc.progress", m
            self.progress.append(m["params"])
        else:
            self.answers[m["id"]] = m
        return m

    def answer(self, id):
        while id not in self.answers:
            self.read()
        return self.answers.pop(id)

    def response(self):
        """The next response that came later."""
        while not self.late:
            self.read()
        return self.late.pop(0)

    def submit(self, method="test.echo", params=None, id=1, **rpc):
        """The job's id, once it is acknowledged."""
        self.call(method, params, id=id, **{"callback": "ws:", **rpc})
        return job_of(self.answer(id))

    def ack(self, m, id=None):
        """As a notification; with an id as a request, whose answer is given back."""
        job = m if isinstance(m, str) else m["ringback"]["job"]
        request = {"method": "rpc.job.ack", "params": {"id": job}}
        if id is None:
            self.send(request)
            return None
        self.send({"id": id, **request})
        return self.answer(id)

    def take(self):
        """The next response, acknowledged for good."""
        m = self.response()
        assert self.ack(m, id="ack") == {"id": "ack", "result": True}
        return m


def job_of(answer):
    ack = answer["result"]["callback"]
    assert ack["url"] == "ws:" and ack["status"] is True and len(ack["data"]) == 1, answer
    return ack["data"][0]["job"]


def state_of(client, job):
    got = client.call("rpc.job.get", {"id": job}).json
    return got["result"]["state"] if "result" in got else got["error"]["code"]


def wait_state(client, job, state, limit=20):
    until(lambda: state_of(client, job) == state, limit, lambda: f"{job} is {state}, not {state_of(client, job)}")
