"""A stand-in for the Hugging Face Hub on 127.0.0.1, for the real `huggingface_hub` client to talk to.

It speaks as much of the Hub's HTTP as finding, loading, listing and pushing a model need: model info, file trees, refs, `resolve`
with ETags, commits, ranges and the redirect of large files to a second host, whoami, creating repositories and branches,
and commits with LFS uploads. Listing models knows search, filters, order, pages and `expand`, as the Hub's does. Faults are
scripted:

    with StandInHub() as hub:
        hub.add("owner/model", {"config.json": b"{}", "model.safetensors": data})
        hub.fault("model.safetensors", cut_after=1000)       # the connection drops after 1,000 bytes, once
        hub.fault("/api/models/", status=500, times=None)    # every time
        os.environ["HF_ENDPOINT"] = hub.endpoint
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep  # tests patch `time.sleep` to hurry the client
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

LARGE_FILES = (".safetensors", ".bin", ".h5", ".model", ".onnx", ".pt")


@dataclass
class Repository:
    """Commits (id -> files) and the names that point at them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def commit(self, revision: str) -> str | None:
        found = self.branches.get(revision) or self.tags.get(revision)
        if found is None and re.fullmatch(r"[0-9a-f]{7,40}", revision):
            found = next((commit for commit in self.commits if commit.startswith(revision)), None)
        return found


@dataclass
class Fault:
    """What goes wrong with the requests whose path contains `path`, the next `times` times (None: always)."""

    path: str
    method: str | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None  # bytes of the body, then the connection is dropped
    flip_bit: int | None = None  # the bit with this number is wrong in the body
    delay: float = 0.0  # seconds before the answer
    stall: float = 0.0  # seconds of silence between the last byte that `cut_after` allows and the drop
    times: int | None = 1


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    token: str | None
    range: str | None
    host: str


class StandInHub:
    """The server. `with` starts and stops it.

    Attributes:
        endpoint: What `HF_ENDPOINT` is to be.
        repositories: By name.
        users: Token -> user name. A private or gated repository opens for any of these tokens.
        requests: What was asked, in order.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.users: dict[str, str] = {}
        self.requests: list[Request] = []
        self.uploads: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self._lock = threading.Lock()

        class Handler(_Handler):
            hub = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64  # a crowd of clients must not wait for the system to try again

        self._server = Server(("127.0.0.1", 0), Handler)
        port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        self.storage = f"http://localhost:{port}"  # another host by name, as the Hub's storage is

    def __enter__(self) -> StandInHub:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes | str] | str | Path,
        revision: str = "main",
        *,
        tag: str | None = None,
        gated: bool = False,
        private: bool = False,
    ) -> str:
        """Commit files (a mapping, or a folder) on top of a branch; returns the commit."""
        if isinstance(files, str | Path):
            root = Path(files)
            files = {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
        contents = {name: content.encode() if isinstance(content, str) else content for name, content in files.items()}
        with self._lock:
            repository = self.repositories.setdefault(repo_id, Repository())
            repository.gated, repository.private = gated, private
            parent = repository.branches.get(revision) or repository.branches.get("main")
            tree = {**(repository.commits[parent] if parent else {}), **contents}
            commit = hashlib.sha1(f"{repo_id} {parent} {sorted(tree)} {len(repository.commits)}".encode()).hexdigest()
            repository.commits[commit] = tree
            repository.branches[revision] = commit
            repository.branches.setdefault("main", commit)
            if tag:
                repository.tags[tag] = commit
        return commit

    def describe(self, repo_id: str, **facts: Any) -> None:
        """Say what the Hub knows of a repository beside its files, in its own words: `pipeline_tag`, `downloads`, `cardData`..."""
        self.repositories[repo_id].facts.update(facts)

    def fault(self, path: str, **what: Any) -> Fault:
        """Script a fault; see `Fault`."""
        self.faults.append(Fault(path, **what))
        return self.faults[-1]

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a repository as they stand."""
        repository = self.repositories[repo_id]
        return repository.commits[repository.branches[revision]]

    def paths(self, method: str | None = None) -> list[str]:
        """The paths that were asked for."""
        return [request.path for request in self.requests if method in (None, request.method)]


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self) -> None:
        address = urlsplit(self.path)
        self.query = parse_qs(address.query)
        path = unquote(address.path)
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else self._read_chunks()
        authorization = self.headers.get("Authorization", "")
        self.token = authorization.removeprefix("Bearer ") or None
        request = Request(self.command, path, self.token, self.headers.get("Range"), self.headers.get("Host", ""))
        self.hub.requests.append(request)
        self.broken = self._fault(path)
        if self.broken is not None:
            sleep(self.broken.delay)
            if self.broken.status is not None:
                return self.send(self.broken.status, self.broken.body, self.broken.headers)
        routes: list[tuple[str, str, Callable[..., None]]] = [
            ("GET", r"/api/whoami-v2", self.whoami),
            ("GET", r"/api/models", self.models),
            ("POST", r"/api/repos/create", self.create),
            ("POST", r"/api/validate-yaml", self.validate_yaml),
            ("GET", r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)/refs", self.refs),
            ("GET", r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)/revision/(?P<revision>.+)", self.info),
            (
                "GET",
                r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)/tree/(?P<revision>(?:refs/[^/]+/)?[^/]+)(?:/(?P<folder>.+))?",
                self.tree,
            ),
            ("POST", r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)/branch/(?P<branch>.+)", self.branch),
            ("POST", r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)/preupload/(?P<revision>.+)", self.preupload),
            ("POST", r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)/commit/(?P<revision>.+)", self.commit),
            ("GET", r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)", self.info),
            ("POST", r"/(?P<repo>[^/]+(?:/[^/]+)?)\.git/info/lfs/objects/batch", self.batch),
            ("PUT", r"/storage/(?P<oid>[0-9a-f]{64})", self.store),
            ("GET", r"/storage/(?P<oid>[0-9a-f]{64})", self.stored),
            (
                "GET",
                r"/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>(?:refs/[^/]+/)?[^/]+)/(?P<name>.+)",
                self.resolve,
            ),
        ]
        method = "GET" if self.command == "HEAD" else self.command
        for verb, pattern, handler in routes:
            if verb == method and (match := re.fullmatch(pattern, path)):
                return handler(**match.groupdict())
        return self.send(404, b"Not Found")

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def _read_chunks(self) -> bytes:
        body = b""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return body

    def _fault(self, path: str) -> Fault | None:
        with self.hub._lock:
            for fault in self.hub.faults:
                if fault.path in path and fault.method in (None, self.command) and fault.times != 0:
                    bytes_only = fault.cut_after is not None or fault.flip_bit is not None
                    if bytes_only and (self.command == "HEAD" or path.startswith("/api/")):
                        continue
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    def send(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.broken is not None and self.broken.flip_bit is not None and body:
            place, bit = divmod(self.broken.flip_bit, 8)
            body = body[:place] + bytes([body[place] ^ (1 << bit)]) + body[place + 1 :]
        if self.broken is not None and self.broken.cut_after is not None:
            self.wfile.write(body[: self.broken.cut_after])
            self.wfile.flush()
            sleep(self.broken.stall)
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.wfile.write(body)

    def json(self, content: Any, status: int = 200) -> None:
        self.send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str, message: str) -> None:
        self.send(status, message.encode(), {"X-Error-Code": code, "X-Error-Message": message})

    def opened(self, repo: str) -> Repository | None:
        """The repository, if there is one and the request may see it; as the Hub does, both look alike from outside."""
        repository = self.hub.repositories.get(repo)
        if repository is None or (repository.private and self.token not in self.hub.users):
            if self.token is None:
                self.refuse(401, "RepoNotFound", "Invalid username or password.")
            else:
                self.refuse(404, "RepoNotFound", "Repository not found")
            return None
        return repository

    def at(self, repository: Repository, revision: str) -> str | None:
        commit = repository.commit(revision)
        if commit is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    # Reading

    def info(self, repo: str, revision: str = "main") -> None:
        if (repository := self.opened(repo)) is None or (commit := self.at(repository, revision)) is None:
            return
        files = repository.commits[commit]
        siblings = [
            {"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"]}
            | ({"lfs": {**entry["lfs"], "sha256": entry["lfs"]["oid"]}} if "lfs" in entry else {})
            for entry in _entries(files)
        ]
        if "blobs" not in self.query:
            siblings = [{"rfilename": sibling["rfilename"]} for sibling in siblings]
        self.json({**self.facts(repo), "siblings": siblings, "sha": commit})

    def facts(self, repo: str) -> dict[str, Any]:
        """What the Hub says of a repository; its configuration, card and weights are read from its files, if there are any."""
        repository = self.hub.repositories[repo]
        commit = repository.branches.get("main")
        files = repository.commits[commit] if commit else {}
        try:
            config = json.loads(files.get("config.json", b"{}"))
        except ValueError:
            config = {}
        if not isinstance(config, dict):
            config = {}
        shown = {key: config[key] for key in ("architectures", "model_type", "auto_map") if key in config}
        facts: dict[str, Any] = {
            "_id": "0" * 24,
            "id": repo,
            "modelId": repo,
            "author": repo.rpartition("/")[0],
            "private": repository.private,
            "gated": "manual" if repository.gated else False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "lastModified": "2025-01-01T00:00:00.000Z",
            "createdAt": "2024-01-01T00:00:00.000Z",
            "config": shown,
            **repository.facts,
        }
        endings = {"safetensors": ".safetensors", "pytorch": ".bin"}
        kinds = [kind for kind, ending in endings.items() if any(name.endswith(ending) for name in files)]
        card = facts.get("cardData") or {}
        languages = card.get("language") or []
        facts["tags"] = [
            *facts["tags"],
            *kinds,
            *([shown["model_type"]] if "model_type" in shown else []),
            *([languages] if isinstance(languages, str) else languages),
            *([f"license:{card['license']}"] if "license" in card else []),
            *([facts["pipeline_tag"]] if facts.get("pipeline_tag") else []),
        ]
        return facts

    def models(self) -> None:
        """The listing: narrowed, in order, a page at a time, with the address of the next page in the Link header."""
        asked = {key: values[-1] for key, values in self.query.items()}
        tags = [tag for value in self.query.get("filter", []) for tag in value.split(",")]
        found = []
        for repo, repository in list(self.hub.repositories.items()):
            if repository.private and self.token not in self.hub.users:
                continue
            if asked.get("search", "").lower() not in repo.lower():
                continue
            facts = self.facts(repo)
            if asked.get("pipeline_tag") not in (None, facts.get("pipeline_tag")) or not set(tags) <= set(
                facts["tags"]
            ):
                continue
            found.append(facts)
        if "sort" in asked:
            found.sort(key=lambda facts: facts[asked["sort"]], reverse=True)
        start = int(base64.b64decode(asked["cursor"])) if "cursor" in asked else 0
        limit = min(int(asked.get("limit", 1000)), 1000)
        headers = {"Content-Type": "application/json"}
        if start + limit < len(found):
            cursor = base64.b64encode(str(start + limit).encode()).decode()
            query = urlencode({**{k: v for k, v in self.query.items() if k != "cursor"}, "cursor": cursor}, doseq=True)
            headers["Link"] = f'<{self.hub.endpoint}/api/models?{query}>; rel="next"'
        page = found[start : start + limit]
        if wanted := self.query.get("expand"):
            page = [{key: facts[key] for key in ("_id", "id", *wanted) if key in facts} for facts in page]
        self.send(200, json.dumps(page).encode(), headers)

    def tree(self, repo: str, revision: str, folder: str | None = None) -> None:
        if (repository := self.opened(repo)) is None or (commit := self.at(repository, revision)) is None:
            return None
        files = repository.commits[commit]
        if folder is not None:
            files = {name: content for name, content in files.items() if name.startswith(f"{folder}/")}
            if not files:
                return self.refuse(404, "EntryNotFound", f"{folder} does not exist on {revision!r}")
        return self.json(_entries(files))

    def refs(self, repo: str) -> None:
        if (repository := self.opened(repo)) is None:
            return
        kinds = {"branches": ("heads", repository.branches), "tags": ("tags", repository.tags)}
        listed = {
            kind: [{"name": n, "ref": f"refs/{path}/{n}", "targetCommit": c} for n, c in refs.items()]
            for kind, (path, refs) in kinds.items()
        }
        self.json({**listed, "converts": []})

    def resolve(self, repo: str, revision: str, name: str) -> None:
        if (repository := self.opened(repo)) is None or (commit := self.at(repository, revision)) is None:
            return None
        if repository.gated and self.token not in self.hub.users:
            return self.refuse(
                401 if self.token is None else 403,
                "GatedRepo",
                "Access to model is restricted. You must be authenticated.",
            )
        content = repository.commits[commit].get(name)
        if content is None:
            self.send(404, b"Entry not found", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return None
        if not name.endswith(LARGE_FILES):
            return self.ranged(content, {"ETag": f'"{_git_sha1(content)}"', "X-Repo-Commit": commit})
        oid = hashlib.sha256(content).hexdigest()
        with self.hub._lock:
            self.hub.uploads[oid] = content
        headers = {
            "Location": f"{self.hub.storage}/storage/{oid}?file={name}",
            "X-Repo-Commit": commit,
            "X-Linked-Etag": f'"{oid}"',
            "X-Linked-Size": str(len(content)),
        }
        return self.send(302, b"", headers)

    def stored(self, oid: str) -> None:
        if (content := self.hub.uploads.get(oid)) is None:
            return self.send(404)
        # Faults are scripted by file name, and this address has it in its query only.
        self.broken = self.broken or self._fault("/".join(self.query.get("file", [])))
        if self.broken is not None and self.broken.status is not None:
            return self.send(self.broken.status, self.broken.body, self.broken.headers)
        name = Path(self.query.get("file", ["file"])[0]).name
        return self.ranged(content, {"ETag": f'"{oid}"', "Content-Disposition": f'inline; filename="{name}";'})

    def ranged(self, content: bytes, headers: Mapping[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            return self.send(200, content, {"Accept-Ranges": "bytes", **headers})
        start, stop = int(asked[1]), int(asked[2]) + 1 if asked[2] else len(content)
        span = f"bytes {start}-{stop - 1}/{len(content)}"
        return self.send(206, content[start:stop], {"Content-Range": span, **headers})

    # Writing

    def whoami(self) -> None:
        if self.token not in self.hub.users:
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        return self.json({"type": "user", "name": self.hub.users[self.token], "auth": {"type": "access_token"}})

    def create(self) -> None:
        wanted = json.loads(self.body)
        if self.token is None:
            return self.refuse(401, "", "Invalid username or password.")
        if self.token not in self.hub.users:
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        user = self.hub.users[self.token]
        owner = wanted.get("organization") or user
        repo = f"{owner}/{wanted['name']}"
        if owner != user:
            return self.refuse(403, "", f"You don't have the rights to create a model under the namespace {owner}")
        known = repo in self.hub.repositories
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        if not known:
            self.hub.add(repo, {".gitattributes": "*.safetensors filter=lfs\n"}, private=private)
        return self.json({"url": f"{self.hub.endpoint}/{repo}", "name": repo, "id": repo}, 409 if known else 200)

    def validate_yaml(self) -> None:
        self.json({"errors": [], "warnings": []})

    def branch(self, repo: str, branch: str) -> None:
        if (repository := self.opened(repo)) is None:
            return None
        if branch in repository.branches:
            return self.refuse(409, "", "Reference already exists")
        repository.branches[branch] = repository.branches["main"]
        return self.json({})

    def preupload(self, repo: str, revision: str) -> None:
        if (repository := self.opened(repo)) is None or self.at(repository, revision) is None:
            return
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE_FILES) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        self.json({"files": modes})

    def batch(self, repo: str) -> None:
        if self.opened(repo) is None:
            return
        objects = [
            {
                "oid": item["oid"],
                "size": item["size"],
                "actions": {"upload": {"href": f"{self.hub.storage}/storage/{item['oid']}", "header": {}}},
            }
            for item in json.loads(self.body)["objects"]
        ]
        self.json({"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.send(400)
        with self.hub._lock:
            self.hub.uploads[oid] = self.body
        return self.send(200)

    def commit(self, repo: str, revision: str) -> None:
        if self.opened(repo) is None:
            return
        files: dict[str, bytes] = {}
        for line in self.body.splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            elif item["key"] == "lfsFile":
                files[item["value"]["path"]] = self.hub.uploads[item["value"]["oid"]]
        repository = self.hub.repositories[repo]
        propose = "create_pr" in self.query
        target = f"refs/pr/{len(repository.commits)}" if propose else revision
        commit = self.hub.add(repo, files, target, gated=repository.gated, private=repository.private)
        answer = {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.endpoint}/{repo}/commit/{commit}"}
        if propose:
            answer["pullRequestUrl"] = f"{self.hub.endpoint}/{repo}/discussions/1"
        self.json(answer)


def _entries(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Files as the Hub's tree lists them."""
    entries = []
    for name, content in sorted(files.items()):
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": _git_sha1(content)}
        if name.endswith(LARGE_FILES):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        entries.append(entry)
    return entries


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
