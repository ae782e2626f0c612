"""The documents of the service: pages, images, workspaces, over real sockets that misbehave."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import ssl
import subprocess
import time
from email.utils import formatdate

import pytest
from rawserver import SECRET, Hidden, TokenEndpoint, reply, said, service, serving

from syncer.errors import ConfigError, NotFound, Refused, SyncerError, Unauthorized, Unavailable, UnexpectedAnswer
from syncer.service import client
from syncer.service.auth import StaticToken
from syncer.service.client import Connection, ImageService

PAGE = {"page": {"size": 200, "totalElements": 1, "totalPages": 1, "currentPage": 1}, "data": [{"id": "a"}]}


def answering(*replies):
    """Give one reply after the other, the last one for ever."""
    left = list(replies)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


async def test_page_is_asked_for_with_the_token_and_read():
    """One page: the documented path and query, a bearer token, and the rows as images."""
    secrets: list[str] = []
    async with service(answering(reply(body=PAGE)), on_secret=secrets.append) as (opened, server):
        page = await opened.page("w/1", 3)

    asked = server.requests[-1]
    assert [image.id for image in page.images] == ["a"]
    assert asked.target == "/api/image-service/v1/workspaces/w%2F1/images?page=3&size=200"
    assert asked.headers["authorization"] == "Bearer canary-token-1"
    assert "cookie" not in asked.headers
    assert secrets == ["canary-token-1"]
    assert (opened.requests, opened.statuses) == (2, {200: 2})


async def test_many_calls_share_a_token_and_connections():
    """The token is asked for once however many calls begin together, and connections are used again."""
    grant = TokenEndpoint()
    async with service(answering(reply(body=PAGE)), token=grant) as (opened, server):
        await asyncio.gather(*(opened.page("w", number) for number in range(1, 6)))
        for number in range(6, 20):
            await opened.page("w", number)

    assert grant.granted == 1
    assert server.connections <= 6


async def test_image_and_workspace_are_documents_of_their_own():
    """The single documents are found under their ids, each encoded as one path segment."""
    async with service(answering(reply(body={"id": "..", "name": "N"}))) as (opened, server):
        assert (await opened.image("w", "..")).id == ".."
        assert (await opened.workspace("ä b")).name == "N"

    assert server.paths()[1:] == [
        "/api/image-service/v1/workspaces/w/images/%2E%2E",
        "/api/workspace-service/v1/workspaces/%C3%A4%20b",
    ]


async def test_expired_token_is_replaced_and_the_call_repeated():
    """A 401 costs one new token and no error, even for many calls at once."""
    grant = TokenEndpoint()

    def answer(request):
        fresh = request.headers["authorization"] == "Bearer canary-token-2"
        return reply(body=PAGE) if fresh else reply(401, {"error": "expired"})

    async with service(answer, token=grant) as (opened, _):
        await asyncio.gather(*(opened.page("w", number) for number in range(1, 6)))

    assert grant.granted == 2


async def test_second_refusal_is_final():
    """A token that is new and still refused means that the credentials are not enough; nothing is repeated."""
    async with service(answering(reply(401, {"error": "no canary-token-1"}))) as (opened, server):
        with pytest.raises(Unauthorized) as caught:
            await opened.page("w", 1)

    assert len(server.requests) == 4
    assert "canary" not in said(caught.value)


async def test_static_token_is_refused_at_once():
    """What cannot be renewed is not tried again."""
    token = StaticToken(Hidden("canary-static"))
    async with service(answering(reply(401)), credentials=token) as (opened, server):
        with pytest.raises(Unauthorized) as caught:
            await opened.page("w", 1)

    assert len(server.requests) == 1
    assert "canary" not in said(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_refused_credentials_are_fatal_and_not_repeated(status):
    """The token endpoint says no: the standard's code is shown, its words and ours are not."""
    refusal = reply(status, {"error": "invalid_client", "error_description": f"{SECRET} is wrong"})
    async with service(answering(reply(body=PAGE)), token=lambda _: refusal) as (opened, server):
        with pytest.raises(Unauthorized) as caught:
            await opened.page("w", 1)

    assert caught.value.facts["code"] == "invalid_client"
    assert "canary" not in said(caught.value)
    assert len(server.requests) == 1


async def test_token_request_is_never_redirected():
    """The client's secret is posted to the configured URL and to nowhere else."""
    async with serving(answering(reply(body={"access_token": "x"}))) as elsewhere:
        moved = reply(307, Location=f"{elsewhere.url}/token")
        async with service(answering(reply(body=PAGE)), token=lambda _: moved) as (opened, _):
            with pytest.raises(UnexpectedAnswer) as caught:
                await opened.page("w", 1)

    assert elsewhere.requests == []
    assert "service.token_url" in caught.value.hint
    assert SECRET not in said(caught.value)


@pytest.mark.parametrize("body", [b"<html>canary-x", b"", b'{"access_token": "canary bad"}'])
async def test_token_answer_that_is_none_is_unexpected(body):
    """A proxy's page in place of a token is repeated like other failures and then told."""
    async with service(answering(reply(body=PAGE)), token=lambda _: reply(body=body)) as (opened, server):
        with pytest.raises(UnexpectedAnswer) as caught:
            await opened.page("w", 1)

    assert len(server.requests) == 3
    assert "canary" not in said(caught.value)


async def test_token_endpoint_that_recovers_is_no_error():
    """The token request is repeated as part of the call that needs it."""
    replies = answering(reply(503), reply(429), reply(body={"access_token": "t"}))
    async with service(answering(reply(body=PAGE)), token=replies) as (opened, _):
        assert (await opened.page("w", 1)).rows == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (403, Refused),
        (404, NotFound),
        (410, NotFound),
        (422, Refused),
        (204, UnexpectedAnswer),
        (206, UnexpectedAnswer),
        (304, UnexpectedAnswer),
        (408, Unavailable),
        (429, Unavailable),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (520, Unavailable),
    ],
)
async def test_each_status_has_its_meaning(status, error):
    """What may pass is repeated, what will not is told at once, with the service's own words and code."""
    body = b"" if status in (204, 304) else {"error": "no canary-token-1 today", "code": "WHY"}
    answer = reply(status, body) if body else f"HTTP/1.1 {status} X\r\n\r\n".encode()
    async with service(answering(answer)) as (opened, server):
        with pytest.raises(SyncerError) as caught:
            await opened.page("w", 1)

    assert type(caught.value) is error
    assert len(server.requests) == (4 if error.retryable else 2)
    assert "canary" not in said(caught.value)
    assert caught.value.facts["status"] == status
    if body and error is not UnexpectedAnswer:
        assert (caught.value.facts["said"], caught.value.facts["code"]) == ("no … today", "WHY")


async def test_failure_that_passes_is_no_error():
    """A gateway's page of HTML, a reset and a cut body in a row, then the page."""

    async def reset(writer):
        writer.transport.abort()

    whole = reply(body=PAGE)
    cut = answering(reply(502, b"<html>bad gateway"), reset, whole[:-3] + b"", reply(body=b"<html>"), whole)

    def answer(request):
        given = cut(request)
        return closing(given) if given == whole[:-3] else given

    async with service(answer, retries=4) as (opened, _):
        assert (await opened.page("w", 1)).rows == 1


def closing(data: bytes):
    async def write(writer):
        writer.write(data)
        await writer.drain()

    return write


@pytest.mark.parametrize(
    "body", [b"<html>", b"", b"[]", b'{"data": null}', b"[" * 100_000, b'{"data": [{"id": "canary-token-1']
)
async def test_answer_that_is_no_page_is_unexpected(body):
    """200 alone is not a page."""
    async with service(answering(reply(body=body)), retries=0) as (opened, _):
        with pytest.raises(UnexpectedAnswer) as caught:
            await opened.page("w", 1)
    assert "canary" not in said(caught.value)


async def test_cut_answer_is_told_as_one():
    """A body shorter than it said, or with bytes after its end, is never taken for a page."""
    whole = reply(body=PAGE)
    for odd in (whole[:-1], whole + b"more"):
        async with service(answering(closing(odd)), retries=0) as (opened, _):
            with pytest.raises(UnexpectedAnswer):
                await opened.page("w", 1)


async def test_packed_answers_are_read():
    """The API may pack its answers."""
    packed = reply(body=gzip.compress(json.dumps(PAGE).encode(), mtime=0), Content_Encoding="gzip")
    async with service(answering(packed)) as (opened, server):
        assert (await opened.page("w", 1)).rows == 1
    assert server.requests[-1].headers["accept-encoding"] == "gzip, deflate"


async def test_answer_without_end_is_bounded(monkeypatch):
    """A document that is too long, packed into a small bomb or not, is given up and not swallowed."""
    monkeypatch.setattr(client, "MAX_JSON", 100_000)
    bomb = reply(body=gzip.compress(b" " * 10_000_000, mtime=0), Content_Encoding="gzip")
    for long in (bomb, reply(body=b" " * 100_001)):
        async with service(answering(long), retries=0) as (opened, _):
            with pytest.raises(UnexpectedAnswer, match="too long"):
                await opened.page("w", 1)


async def test_redirect_within_the_api_is_followed_with_the_token():
    """The service may move its own paths about."""

    def answer(request):
        return reply(body=PAGE) if request.path == "/moved" else reply(307, Location="/moved?x=1")

    async with service(answer) as (opened, server):
        assert (await opened.page("w", 1)).rows == 1
    assert server.requests[-1].headers["authorization"] == "Bearer canary-token-1"


async def test_redirect_of_an_api_call_to_elsewhere_is_refused():
    """A page comes from the API's origin or not at all, not even from an allowed content origin."""
    async with serving(answering(reply(body=PAGE))) as elsewhere:
        moved = reply(302, Location=f"{elsewhere.url}/x?token=canary-q")
        async with service(answering(moved), content_origins=(elsewhere.url,)) as (opened, _):
            with pytest.raises(Refused, match="another origin") as caught:
                await opened.page("w", 1)

    assert elsewhere.requests == []
    assert "canary" not in said(caught.value)


@pytest.mark.parametrize("location", [None, "/api/round", "ftp://x/", "http://u:canary-p@127.0.0.1/"])
async def test_redirects_to_nowhere_end(location):
    """A circle, a missing target, or a target that is none: one clear refusal."""
    moved = reply(302, Location=location) if location else reply(302)
    async with service(answering(moved)) as (opened, server):
        with pytest.raises(Refused) as caught:
            await opened.page("w", 1)

    assert len(server.requests) <= 3
    assert "canary" not in said(caught.value)


async def test_endless_redirects_end():
    """Five redirects are followed, the sixth is not."""
    async with service(lambda request: reply(302, Location=f"{request.path}x")) as (opened, server):
        with pytest.raises(Refused, match="more redirects"):
            await opened.page("w", 1)
    assert len(server.requests) == 1 + 6


async def test_retry_after_is_waited_for_by_all():
    """A 429 holds back the next requests to that origin for as long as it asked."""
    slept: list[float] = []

    async def sleep(seconds):
        slept.append(seconds)

    async with service(answering(reply(429, Retry_After="7"), reply(body=PAGE)), sleep=sleep) as (opened, _):
        await opened.page("w", 1)

    assert [round(seconds) for seconds in slept] == [0, 7]


async def test_dead_service_is_known_as_down():
    """After some requests given up in a row the service counts as down, until it answers."""
    replies = [reply(500)] * 8 + [reply(body=PAGE)]
    async with service(answering(*replies), retries=0) as (opened, _):
        for _ in range(8):
            assert not opened.down
            with pytest.raises(Unavailable):
                await opened.page("w", 1)
        assert opened.down
        await opened.page("w", 1)
        assert not opened.down


async def test_unknown_image_is_a_sign_of_life():
    """A 404 is an answer: it does not count towards "down"."""
    replies = [reply(500), reply(404)] * 10
    async with service(answering(*replies), retries=0) as (opened, _):
        for _ in range(20):
            with pytest.raises(SyncerError):
                await opened.image("w", "a")
        assert not opened.down


# --- connections --------------------------------------------------------------------------------------


async def open_port() -> int:
    """A port on which nobody listens."""
    async with serving(answering(reply())) as server:
        return server.port


async def failing(url: str, **settings) -> SyncerError:
    defaults = {"credentials": StaticToken(Hidden("canary-static")), "retries": 1, "stall_seconds": 5}
    connection = Connection(url, url, **{**defaults, **settings})
    async with ImageService.open(connection, sleep=lambda seconds: asyncio.sleep(0)) as opened:
        with pytest.raises(SyncerError) as caught:
            await opened.page("w", 1)
        caught.value.requests = opened.requests
    assert "canary" not in said(caught.value)
    return caught.value


async def test_refused_connection_says_so():
    """Nobody listens there: repeated, then told with its cause."""
    error = await failing(f"http://127.0.0.1:{await open_port()}/api")

    assert isinstance(error, Unavailable)
    assert (error.facts["cause"], error.requests) == ("refused", 2)


async def test_unknown_name_says_so():
    """No such host: repeated, then told with its cause."""
    error = await failing("http://no-such-host.invalid/api")

    assert isinstance(error, Unavailable)
    assert error.facts["cause"] == "dns"


async def test_reset_connection_says_so():
    """A connection that breaks before the answer."""

    async def reset(writer):
        writer.transport.abort()

    async with serving(answering(reset)) as server:
        error = await failing(f"{server.url}/api")
    assert isinstance(error, Unavailable)
    assert error.facts["cause"] == "reset"


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", b"HTTP/1.1 20"])
async def test_silence_is_noticed(start):
    """An answer that stops before its head, within it or within its body is given up after `stall_seconds`."""
    over = asyncio.Event()

    async def stall(writer):
        writer.write(start)
        await over.wait()

    async with serving(answering(stall)) as server:
        error = await failing(f"{server.url}/api", stall_seconds=0.1, retries=0)
        over.set()
    assert isinstance(error, Unavailable)
    assert error.facts["cause"] == "timeout"


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
async def test_dripping_is_noticed(head):
    """A byte now and then, in the head or in the body, does not hold an attempt for ever."""

    async def drip(writer):
        writer.write(head)
        while True:
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(answering(drip)) as server:
        async with asyncio.timeout(5):
            error = await failing(f"{server.url}/api", stall_seconds=0.1, retries=0)
    assert isinstance(error, Unavailable)
    assert error.facts["cause"] == "timeout"


@pytest.mark.parametrize("refusing", ["/token", "/api"])
async def test_document_that_drips_fast_enough_is_given_up_after_a_while(refusing):
    """Steady progress is enough for a picture; a document or a token comes within `retry_seconds` or not at all."""

    async def drip(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n")
        while True:
            writer.write(b" " * 2048)
            await writer.drain()
            await asyncio.sleep(0.02)

    dripping = {refusing: drip}
    token = TokenEndpoint()
    async with service(
        lambda request: dripping.get("/api", reply(body=PAGE)),
        token=lambda request: dripping.get("/token") or token(request),
        retry_seconds=0.3,
        retries=0,
    ) as (opened, _):
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable) as caught:
                await opened.page("w", 1)
    assert caught.value.facts["cause"] == "timeout"
    assert "canary" not in said(caught.value)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself, and a server's context with it."""
    folder = tmp_path_factory.mktemp("tls")
    key, own = folder / "key.pem", folder / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", own],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own, key)
    return own, context


async def test_certificate_of_our_own_authority_is_accepted(certificate):
    """`ca_file` adds to the authorities that are trusted."""
    own, context = certificate
    async with service(answering(reply(body=PAGE)), tls=context, ca_file=str(own)) as (opened, _):
        assert (await opened.page("w", 1)).rows == 1


async def test_unknown_certificate_is_told_at_once(certificate):
    """A certificate that is not valid is not asked again, and the error says what is wrong with it."""
    _, context = certificate
    async with serving(answering(reply(body=PAGE)), tls=context) as server:
        error = await failing(f"{server.url}/api")

    assert server.requests == []
    assert (error.facts["cause"], error.requests) == ("tls", 1)
    assert "self-signed" in str(error.facts["reason"])


async def test_plain_answer_on_a_secure_port_is_told():
    """https towards a port that speaks http is a mistake in the URL, not a matter of patience."""

    async def plain(reader, writer):
        writer.write(b"HTTP/1.1 400 X\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        error = await failing(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/api")
    assert isinstance(error, Unavailable)
    assert (error.facts["cause"], error.requests) == ("tls", 1)


async def test_missing_authority_file_is_a_mistake_in_the_configuration(tmp_path):
    """What is wrong with `ca_file` is told before anything is asked."""
    empty = tmp_path / "empty.pem"
    empty.touch()
    for file in (empty, tmp_path / "missing.pem"):
        connection = Connection("http://127.0.0.1/", "http://127.0.0.1/", StaticToken(Hidden("x")), ca_file=str(file))
        with pytest.raises(ConfigError):
            async with ImageService.open(connection):
                pass


async def test_metadata_address_is_never_asked():
    """Not even a configuration leads to the address where clouds keep their credentials."""
    error = await failing("http://169.254.169.254/api")

    assert isinstance(error, Refused)
    assert error.requests == 0


async def test_clock_skew_is_told():
    """Our clock is compared with the service's own `Date`."""
    dated = reply(body=PAGE, Date=formatdate(time.time() - 3600, usegmt=True))
    async with service(answering(dated)) as (opened, _):
        assert opened.clock_skew is None
        await opened.page("w", 1)
        assert opened.clock_skew == pytest.approx(3600, abs=5)


async def test_environment_does_not_reroute_requests(monkeypatch):
    """A proxy in the environment is not handed the token."""
    async with serving(answering(reply())) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with service(answering(reply(body=PAGE))) as (opened, _):
            await opened.page("w", 1)
    assert proxy.requests == []


async def test_cookies_are_not_kept():
    """A gateway's session does not follow us from one request to the next."""
    async with serving(answering(reply(body=PAGE, Set_Cookie="session=x; Path=/"))) as server:
        url = f"http://localhost:{server.port}"
        async with ImageService.open(Connection(url, url, StaticToken(Hidden("x")))) as opened:
            await opened.page("w", 1)
            await opened.page("w", 2)
    assert "cookie" not in server.requests[1].headers


# --- workspaces ---------------------------------------------------------------------------------------


def listing_of(ids: list[str], *, total: object = ..., size: int = 200):
    """A workspace service that shows pages of these ids, whatever total it claims."""

    def answer(request):
        number = int(request.target.partition("page=")[2].partition("&")[0])
        rows = [{"id": name} for name in ids[(number - 1) * size : number * size]]
        return reply(body={"page": {"totalElements": len(ids) if total is ... else total}, "data": rows})

    return answer


@pytest.mark.parametrize("total", [..., None, 3])
@pytest.mark.parametrize("size", [200, 7])
async def test_workspaces_are_read_to_the_end(total, size):
    """All pages are read, where pages are smaller than asked for and where totals are missing or too low."""
    ids = [f"w{number}" for number in range(430)]
    async with service(listing_of(ids, total=total, size=size)) as (opened, _):
        assert [workspace.id for workspace in await opened.workspaces()] == ids


async def test_few_workspaces_take_one_request():
    """The usual case is one page."""
    async with service(listing_of(["a", "b"])) as (opened, server):
        assert len(await opened.workspaces()) == 2
    assert len(server.requests) == 2


async def test_missing_workspaces_are_not_passed_over():
    """A list that stays shorter than it says is an error, or a workspace would be left out in silence."""
    async with service(listing_of(["a", "b"], total=3)) as (opened, _):
        with pytest.raises(UnexpectedAnswer, match="fewer workspaces"):
            await opened.workspaces()


async def test_endless_workspaces_end(monkeypatch):
    """A list that shows the same page for ever ends at once, one that grows for ever at a bound."""
    async with service(answering(reply(body={"data": [{"id": "a"}]}))) as (opened, _):
        assert len(await opened.workspaces()) == 1

    monkeypatch.setattr(client, "MAX_WORKSPACE_PAGES", 5)
    async with service(lambda _: reply(body={"data": [{"id": random.random().hex()}]})) as (opened, _):
        with pytest.raises(UnexpectedAnswer, match="does not end"):
            await opened.workspaces()
