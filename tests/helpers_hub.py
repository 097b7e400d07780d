"""A stand-in for the Hugging Face hub: the parts of its HTTP interface that its client uses to share a model."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"


@dataclass
class Repository:
    """The commits of a repository, each with the content of all its files."""

    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])

    def sha(self, number: int) -> str:
        return hashlib.sha1(f"{id(self)} {number}".encode()).hexdigest()

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        for number in range(len(self.commits)):
            if revision == self.sha(number):
                return revision, self.commits[number]
        return (self.sha(len(self.commits) - 1), self.commits[-1]) if revision == "main" else None


class Hub:
    """What the stand-in holds, and which requests it answered."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.address = ""


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve an empty hub on a free port of this computer."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        path, body = self._read()
        hub = self.hub
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}"
            if name in hub.repositories:
                return self._json({"url": f"{hub.address}/{name}", "error": "it exists"}, 409)
            private = given.get("visibility") == "private" or bool(given.get("private"))
            hub.repositories[name] = Repository(private)
            return self._json({"url": f"{hub.address}/{name}"})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                given | {"actions": {"upload": {"href": f"{hub.address}/objects/{given['oid']}"}}}
                for given in json.loads(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})
        *name, verb, _ = path.removeprefix("/api/models/").split("/")
        repository = hub.repositories["/".join(name)]
        if verb == "preupload":
            large = (".safetensors", ".sqlite")
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(large) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        assert verb == "commit", path
        files = dict(repository.commits[-1])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
        repository.commits.append(files)
        sha = repository.sha(len(repository.commits) - 1)
        return self._json({"commitUrl": f"{hub.address}/{'/'.join(name)}/commit/{sha}", "commitOid": sha})

    def do_PUT(self) -> None:
        path, body = self._read()
        oid = path.removeprefix("/objects/")
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.objects[oid] = body
        self._send(b"", 200)

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def _get(self) -> None:
        path, _ = self._read()
        parts = path.removeprefix("/api/models/").strip("/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        repository = self.hub.repositories.get(name)
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.private and not allowed):
            return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        found = repository.at(unquote(rest[1]) if len(rest) > 1 else "main")
        if found is None:
            return self._json({"error": "Invalid rev"}, 404, {"X-Error-Code": "RevisionNotFound"})
        sha, files = found
        if path.startswith("/api/") and rest[:1] == ["tree"]:
            listing = [
                {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for file, data in files.items()
            ]
            return self._json(listing)
        if path.startswith("/api/"):
            siblings = [{"rfilename": file} for file in files]
            return self._json({"id": name, "sha": sha, "private": repository.private, "siblings": siblings})
        data = files.get("/".join(rest[2:]))
        if data is None:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        return self._send(data, 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": sha})

    def _read(self) -> tuple[str, bytes]:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        if self.headers.get("Transfer-Encoding") != "chunked":
            return path, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return path, body

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, data: bytes, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
