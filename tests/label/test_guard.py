"""What is refused before the server reads it."""

import asyncio
import json

import pytest

from revoxel.label.guard import MAX_JSON_BYTES, Guard, Policy

LIMIT = 1000


async def echo(scope, receive, send):
    """A server that reads the whole body, as the stock one does."""
    n_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        n_bytes += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(n_bytes).encode()})


def ask(method, path, *, query="", headers=None, body=(), server="127.0.0.1", origins=()):
    """Status and text of the answer."""
    chunks = [{"type": "http.request", "body": part, "more_body": True} for part in body]
    chunks.append({"type": "http.request", "body": b"", "more_body": False})
    sent = []

    async def receive():
        return chunks.pop(0)

    async def send(message):
        sent.append(message)

    pairs = {"host": "127.0.0.1:8000"} | (headers or {})
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in pairs.items()],
        "server": (server, 8000),
    }
    guard = Guard(echo, Policy(max_upload_bytes=LIMIT, origins=frozenset(origins)))
    asyncio.run(guard(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/info/", ""),
        ("GET", "/datastore/", "output=all"),
        ("GET", "/datastore/label", "label=sub-01_T1w&tag=final"),
        ("POST", "/infer/sagnef", "image=sub-01_T1w"),
        ("POST", "/infer/sagnef", "image=&session_id=6f1c0000-0000-0000-0000-000000000000"),
        ("POST", "/activelearning/random", ""),
        ("POST", "/scoring/tumour_features", ""),
        ("PUT", "/datastore/", "image=sub-01_T1w"),
        ("DELETE", "/train/", ""),
        ("GET", "/logs/", "lines=100"),
    ],
)
def test_what_the_clients_need_passes(method, path, query):
    assert ask(method, path, query=query) == (200, "0")


@pytest.mark.parametrize(
    "query", ["image=../x", "image=%2e%2e%2fx", "image=%252e%252e", "image=/etc/passwd", "image=a&image=../x"]
)
def test_images_are_named_by_ids(query):
    status, text = ask("POST", "/infer/sagnef", query=query)
    assert status == 400
    assert "id must be" in json.loads(text)["detail"]


@pytest.mark.parametrize("query", ["label=../x&tag=final", "label=a&tag=..", "label=a&tag=../../x"])
def test_labels_are_named_by_ids(query):
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        assert ask(method, "/datastore/label", query=query)[0] == 400


@pytest.mark.parametrize("path", ["/session/..", "/datastore/../info/", "/infer/%2e%2e", "/static/..\\x"])
def test_paths_lead_nowhere_else(path):
    assert ask("GET", path)[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ("PUT", "/model/sagnef_5mm_t1c", "neither read nor replace"),
        ("GET", "/model/sagnef_5mm_t1c", "neither read nor replace"),
        ("DELETE", "/model/sagnef_5mm_t1c", "neither read nor replace"),
        ("POST", "/batch/infer/sagnef", "revoxel cohort run"),
        ("GET", "/proxy/dicom/wado/x", "no DICOM server"),
        ("DELETE", "/datastore/", "removed on the server"),
        ("DELETE", "/datastore/image", "removed on the server"),
        ("POST", "/reload", "no client"),
        ("POST", "/train/", "no client"),
        ("POST", "/scoring/", "no client"),
        ("POST", "/infer/wsi/sagnef", "no client"),
        ("POST", "/infer/wsi_v2/sagnef", "no client"),
        ("PUT", "/datastore/image/info", "no client"),
        ("GET", "/datastore/dataset", "no client"),
        ("GET", "/file/etc/passwd", "no client"),
    ],
)
def test_what_no_client_needs_is_refused_with_a_reason(method, path, reason):
    status, text = ask(method, path)
    assert status == 403
    assert reason in text


def test_archives_are_not_unpacked():
    assert ask("PUT", "/session/", query="uncompress=TRUE")[0] == 403
    assert ask("PUT", "/session/", query="uncompress=false")[0] == 200


def test_sessions_are_named_by_uuids():
    assert ask("POST", "/infer/sagnef", query="session_id=..")[0] == 400


def test_stated_length_is_refused_before_the_body_is_read():
    status, text = ask("PUT", "/datastore/", headers={"content-length": str(LIMIT + 1)})
    assert status == 413
    assert f"at most {LIMIT} bytes" in text


@pytest.mark.parametrize("length", ["-1", "x", "1e9", ""])
def test_lengths_that_are_none_are_refused(length):
    assert ask("PUT", "/datastore/", headers={"content-length": length})[0] == 400


def test_body_in_chunks_is_cut_off_at_the_limit():
    parts = [b"x" * 400] * 3
    assert ask("PUT", "/datastore/", body=parts)[0] == 413
    assert ask("PUT", "/datastore/", body=parts[:2]) == (200, "800")


def test_requests_other_than_uploads_are_small():
    headers = {"content-length": str(MAX_JSON_BYTES + 1)}
    assert ask("POST", "/train/sagnef_5mm_t1c", headers=headers)[0] == 413


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_other_web_pages_may_not_ask(origin):
    status, text = ask("GET", "/info/", headers={"origin": origin})
    assert status == 403
    assert "Origin" in text


def test_own_page_and_named_pages_may_ask():
    assert ask("GET", "/info/", headers={"origin": "http://127.0.0.1:8000"})[0] == 200
    named = {"headers": {"origin": "https://viewer.example"}, "origins": ["https://viewer.example"]}
    assert ask("GET", "/info/", **named)[0] == 200


@pytest.mark.parametrize("host", ["rebound.example:8000", "", "127.0.0.1.evil.example"])
def test_local_server_answers_to_its_own_name_only(host):
    assert ask("GET", "/info/", headers={"host": host})[0] == 403


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_local_server_has_several_names(host):
    assert ask("GET", "/info/", headers={"host": host})[0] == 200


def test_server_on_a_network_answers_to_any_name():
    assert ask("GET", "/info/", headers={"host": "labels.hospital:8000"}, server="10.0.0.5")[0] == 200


def test_start_and_stop_of_the_server_pass():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(Guard(app, Policy())({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
