"""A small server of completions on the loopback, as OpenAI's API has them, behind which a language model answers."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np


class Server(ThreadingHTTPServer):
    """What it is told to say comes first; `requests` are the bodies and `keys` the authorisations that it saw."""

    daemon_threads = True

    def __init__(self, model, echoes=True, tells=True, seeded=True):
        super().__init__(("127.0.0.1", 0), Handler)
        self.model, self.echoes, self.tells, self.seeded = model, echoes, tells, seeded
        self.planned, self.requests, self.keys = [], [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *told):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.keys.append(self.headers["Authorization"])
        planned = self.server.planned.pop(0) if self.server.planned else None
        if callable(planned):
            return planned(self)
        if planned is not None:
            return self.say(*planned)
        if body.get("echo") and not self.server.echoes:
            return self.say(400, {"error": "echo is not known here"})
        self.say(200, self.completion(body))

    def say(self, code, answer, headers=()):
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def completion(self, body):
        model = self.server.model
        if body.get("echo"):
            (scores,) = model.score([body["prompt"]])
            told = [model.decode([token]) for token in scores.token_ids], scores.logprobs.tolist()
            # As OpenAI's: no token comes before the first.
            told[1][:1] = [None]
            starts, text = scores.offsets[:, 0].tolist(), body["prompt"]
            told = (*told, starts)
            sample = model.sample([model.encode(text)], max_tokens=1, temperature=0)[0][0]
            finish = sample.finish
            told = (told[0] + [sample.text], told[1] + sample.logprobs.tolist(), told[2] + [len(text)])
            text += sample.text
        else:
            seed = body["seed"] if self.server.seeded else len(self.server.requests)
            options = {name: body[name] for name in ("max_tokens", "temperature", "top_p", "stop") if body.get(name)}
            if body.get("temperature") == 0:
                options["temperature"] = 0
            sample = model.sample([model.encode(body["prompt"])], seed=seed, **options)[0][0]
            text, finish = sample.text, sample.finish
            words = [model.decode([token]) for token in sample.token_ids]
            told = words, sample.logprobs.tolist(), np.cumsum([0, *map(len, words)])[:-1].tolist()
        logprobs = (
            dict(zip(("tokens", "token_logprobs", "text_offset"), told, strict=True)) if self.server.tells else None
        )
        usage = {"prompt_tokens": len(model.encode(body["prompt"]))}
        return {"choices": [{"text": text, "finish_reason": finish, "logprobs": logprobs}], "usage": usage}


@contextmanager
def serving(model, **changes):
    server = Server(model, **changes)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
