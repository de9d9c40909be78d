"""A small server of completions and chats on the loopback, as OpenAI's API has them, behind which a model answers."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np


class Server(ThreadingHTTPServer):
    """What it is told to say comes first; `requests` are the bodies and `keys` the authorisations that it saw.

    completes, chats: whether it has the one and the other. top: the most likeliest tokens that it tells of a place.
    plain: a chat for log-probabilities is refused.
    """

    daemon_threads = True

    def __init__(
        self, model, echoes=True, tells=True, seeded=True, completes=True, chats=False, plain=False, top=20, code=404
    ):
        super().__init__(("127.0.0.1", 0), Handler)
        self.model, self.echoes, self.tells, self.seeded = model, echoes, tells, seeded
        self.completes, self.chats, self.plain, self.top, self.code = completes, chats, plain, top, code
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
        chat = self.path == "/v1/chat/completions"
        if not (self.server.chats if chat else self.server.completes and self.path == "/v1/completions"):
            return self.say(self.server.code, {"error": f"{self.path} is not served here"})
        if chat and body.get("logprobs") and self.server.plain:
            return self.say(400, {"error": "logprobs is not known here"})
        if body.get("echo") and not self.server.echoes:
            return self.say(400, {"error": "echo is not known here"})
        self.say(200, self.chatted(body) if chat else self.completion(body))

    def say(self, code, answer, headers=()):
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def sample(self, body, prompt):
        """The model's own text after a prompt."""
        names = ("max_tokens", "temperature", "top_p", "stop")
        options = {name: body[name] for name in names if body.get(name) is not None}
        seed = body["seed"] if self.server.seeded else len(self.server.requests)
        return self.server.model.sample([self.server.model.encode(prompt)], seed=seed, **options)[0][0]

    def completion(self, body):
        model, prompt, text = self.server.model, body["prompt"], ""
        if body.get("echo"):
            top, text = min(body["logprobs"], self.server.top), prompt
            (scores,) = model.score([prompt], top=top)
            sample = model.sample([model.encode(prompt)], max_tokens=1, temperature=0)[0][0]
            (follows,) = model.next(model.start([model.encode(prompt)]))
            ids = np.concatenate([scores.token_ids, sample.token_ids])
            # As OpenAI's: no token comes before the first.
            logprobs = [None, *scores.logprobs[1:].tolist(), *sample.logprobs.tolist()]
            starts, likely = [*scores.offsets[:, 0].tolist(), len(prompt)], [None, *self.likely(scores)[1:]]
            likely.append({model.decode([token]): float(follows[token]) for token in np.argsort(-follows)[:top]})
        else:
            sample = self.sample(body, prompt)
            ids, logprobs, likely = sample.token_ids, sample.logprobs.tolist(), None
            starts = np.cumsum([0, *(len(model.decode([token])) for token in ids)])[:-1].tolist()
        words = [model.decode([token]) for token in ids]
        told = {"tokens": words, "token_logprobs": logprobs, "text_offset": starts, "top_logprobs": likely}
        logprobs = told if self.server.tells else None
        choice = {"text": text + sample.text, "finish_reason": sample.finish, "logprobs": logprobs}
        return {"choices": [choice], "usage": {"prompt_tokens": len(model.encode(prompt))}}

    def likely(self, scores):
        """Log-probabilities of each place's likeliest tokens, and of the one that is there, by their text."""
        decode = self.server.model.decode
        rows = zip(*(each.tolist() for each in (scores.top_ids, scores.top_logprobs)), strict=True)
        found = [{decode([token]): logprob for token, logprob in zip(*row, strict=True)} for row in rows]
        for place, token, logprob in zip(found, scores.token_ids, scores.logprobs.tolist(), strict=True):
            place.setdefault(decode([token]), logprob)
        return found

    def chatted(self, body):
        model, prompt = self.server.model, template(body["messages"])
        sample = self.sample(body, prompt)
        told = [
            {"token": model.decode([token]), "logprob": logprob, "bytes": list(model.token_bytes(token))}
            for token, logprob in zip(sample.token_ids.tolist(), sample.logprobs.tolist(), strict=True)
        ]
        tells = self.server.tells and body.get("logprobs") is True
        choice = {
            "message": {"role": "assistant", "content": sample.text},
            "finish_reason": sample.finish,
            "logprobs": {"content": told, "refusal": None} if tells else None,
        }
        return {"choices": [choice], "usage": {"prompt_tokens": len(model.encode(prompt))}}


def template(messages):
    """The prompt that a chat is."""
    return "".join(f"{message['role']}: {message['content']}\n" for message in messages) + "assistant: "


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
