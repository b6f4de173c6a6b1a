"""A judge on loopback that speaks as much of OpenAI's protocol as MT-Bench needs, with moods."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def rated(prompt):
    return f"Well. Rating: [[{3 if 'first answer' in prompt else 8}]]"


class Judge:
    """Answers every request with what its prompt decides (by default a rating), after the moods that were ordered.

    Moods, one a request: ``busy`` (429), ``broken`` (500), ``cut`` (the connection ends), ``garbled`` (no completion),
    ``slow`` (half a second), ``denied`` (401 that repeats the key), ``mute`` (no rating).
    """

    def __init__(self, moods=(), words=rated):
        self.words = words
        self.moods, self.asked, self.together, self.most = list(moods), [], 0, 0
        self.lock = threading.Lock()
        judge = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with judge.lock:
                    judge.asked.append((self.path, self.headers["Authorization"], body))
                    mood = judge.moods.pop(0) if judge.moods else ""
                    judge.together += 1
                    judge.most = max(judge.most, judge.together)
                try:
                    judge.reply(self, mood, body)
                finally:
                    with judge.lock:
                        judge.together -= 1

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def reply(self, handler, mood, body):
        if mood == "cut":
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
            return
        if mood == "slow":
            time.sleep(0.5)
        code = {"busy": 429, "broken": 500, "denied": 401}.get(mood, 200)
        prompt = body["messages"][-1]["content"]
        said = "I cannot decide." if mood == "mute" else self.words(prompt)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
        if mood == "garbled":
            answer = {"choices": []}
        if code != 200:
            key = handler.headers["Authorization"].removeprefix("Bearer ")
            answer = {"error": {"message": f"{mood}: {key}"}}
        raw = json.dumps(answer).encode()
        handler.send_response(code)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(raw)))
        if code == 429:
            handler.send_header("retry-after-ms", "20")
        handler.end_headers()
        handler.wfile.write(raw)
