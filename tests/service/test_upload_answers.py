"""What an answer to an upload means: there it is, surely not, or nobody knows. `service/upload.py`"""

from __future__ import annotations

import json

import pytest
from rawserver import Hidden, TokenEndpoint, answering, no_sleep, reply, said, service, serving
from upload_parts import PATH, PICTURE, failure

from syncer.errors import NotFound, QuotaReached, Refused, Unauthorized, Unavailable, Unsettled
from syncer.service import upload
from syncer.service.auth import StaticToken
from syncer.service.upload import Remote, speaks_of_quota

DOCUMENT = {"id": "new", "imageWidth": 30, "updatedAt": "2026-11-22T00:00:00Z"}


def posts(server) -> list:
    return [request for request in server.requests if request.method == "POST" and request.path == PATH]


@pytest.mark.parametrize("status", [200, 201])
async def test_a_new_image_is_returned_as_the_answer_shows_it(status):
    """The answer is the new image's own document; the request carries the token and says its true length."""
    async with service(answering(reply(status, DOCUMENT))) as (opened, server):
        image = await opened.upload("w", PICTURE)

    assert (image.id, image.workspace_id, image.width) == ("new", "w", 30)
    (post,) = posts(server)
    assert post.headers["authorization"] == "Bearer canary-token-1"
    assert post.headers["content-type"] == "application/json"
    assert post.headers["content-length"] == str(len(post.body))
    assert json.loads(post.body)["imageUrl"].startswith("data:image/png;base64,iVBORw0KGgog")
    assert (opened.requests, opened.statuses) == (2, {200: 1, 201: 1} if status == 201 else {200: 2})


async def test_an_address_is_passed_on_as_it_is():
    """A signature breaks where anything of it is spelled anew."""
    address = 'https://store.example/ä "a".png?X-Sig=a%2Fb+c&e=1'
    async with service(answering(reply(201, DOCUMENT))) as (opened, server):
        await opened.upload("w", Remote(address))

    assert json.loads(posts(server)[0].body) == {"imageUrl": address}


async def test_a_workspace_is_one_segment_of_the_path():
    """Whatever its id is made of."""
    async with service(answering(reply(201, DOCUMENT))) as (opened, server):
        await opened.upload("../ä?", PICTURE)

    assert server.requests[-1].target == "/api/image-service/v1/workspaces/..%2F%C3%A4%3F/images"


@pytest.mark.parametrize(
    "answer",
    [
        reply(202, DOCUMENT),
        reply(204),
        reply(206, DOCUMENT),
        reply(201, {}),
        reply(201, {"id": ""}),
        reply(200, [DOCUMENT]),
        reply(201, b""),
        reply(201, b"<html>proxy</html>"),
        reply(201, b'{"id": "ne', Content_Length="40"),
        reply(201, b'6\r\n{"id":\r\n', Transfer_Encoding="chunked"),
        reply(201, b"not gzip", Content_Encoding="gzip"),
        reply(201, DOCUMENT, Content_Encoding="br"),
        reply(201, {"id": "new", "prompt": "long" * 100}),
    ],
)
async def test_a_yes_that_cannot_be_read_is_accepted_and_unsettled(answer, monkeypatch):
    """The service said yes and the image's id is lost: nothing is sent again."""
    monkeypatch.setattr(upload, "MAX_ANSWER", 300)

    async def hang_up(writer):
        writer.write(answer)
        await writer.drain()
        return False

    async with service(answering(hang_up)) as (opened, server):
        error = await failure(opened)

    assert isinstance(error, Unsettled)
    assert error.accepted
    assert len(posts(server)) == 1
    assert error.facts["status"] == int(answer.split()[1])


@pytest.mark.parametrize("status", [408, 500, 501, 502, 503, 504, 520, 599, 700])
async def test_a_failure_of_the_service_may_have_done_it(status):
    """A gateway answers so when it has lost the service behind it: unsettled, and sent once."""
    async with service(answering(reply(status, {"error": "oh"}, Retry_After="7"))) as (opened, server):
        error = await failure(opened)

    assert isinstance(error, Unsettled)
    assert not error.accepted
    assert (error.facts["status"], error.facts["retry_after"]) == (status, 7.0)
    assert len(posts(server)) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, Refused) for status in (400, 403, 405, 409, 413, 415, 422, 423)),
        *((status, NotFound) for status in (404, 410)),
    ],
)
async def test_a_refusal_is_told_with_its_status_and_words(status, kind):
    """Surely not carried out, and not sent again."""
    refusal = reply(status, {"error": "Not like this", "code": "NOT_SO"})
    async with service(answering(refusal)) as (opened, server):
        error = await failure(opened)

    assert type(error) is kind
    assert (error.status, error.code, error.facts["said"]) == (status, "NOT_SO", "Not like this")
    assert error.facts["path"] == PATH
    assert len(posts(server)) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_an_upload_is_never_sent_on(status):
    """A redirect is a refusal: neither the picture nor the token goes anywhere else."""
    async with (
        serving(answering(reply(201, DOCUMENT))) as elsewhere,
        service(answering(reply(status, Location=f"{elsewhere.url}{PATH}"))) as (opened, server),
    ):
        error = await failure(opened)

    assert type(error) is Refused
    assert error.status == status
    assert (len(posts(server)), elsewhere.connections) == (1, 0)


# --- later --------------------------------------------------------------------------------------------


async def test_too_many_requests_is_repeated_after_the_time_that_it_says():
    """A plain 429 carried nothing out, so the same picture is sent again."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        await no_sleep(seconds)

    replies = answering(reply(429, Retry_After="17"), reply(425), reply(201, DOCUMENT))
    async with service(replies, sleep=sleep) as (opened, server):
        assert (await opened.upload("w", PICTURE)).id == "new"

    bodies = {request.body for request in posts(server)}
    assert (len(posts(server)), len(bodies)) == (3, 1)
    assert max(slept) >= 16


async def test_too_many_requests_for_too_long_is_unavailable():
    """Given up after the configured tries, and surely nothing was carried out."""
    async with service(answering(reply(429, {"code": "RATE_LIMITED"}, Retry_After="9"))) as (opened, server):
        error = await failure(opened)

    assert type(error) is Unavailable
    assert (error.retry_after, error.facts["status"], len(posts(server))) == (9.0, 429, 3)


# --- quotas -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, {"code": "QUOTA_EXCEEDED"}),
        (403, {"error": "Your team has used all of its image credits"}),
        (403, {"error": "Upload limit reached for this workspace"}),
        (403, {"message": "You have reached your monthly limit"}),
        (429, {"code": "WORKSPACE_LIMIT_EXCEEDED"}),
        (429, {"error": "Monthly quota exceeded", "code": "TOO_MANY_REQUESTS"}),
        (402, {}),
    ],
)
async def test_a_used_up_quota_is_known_by_its_words(status, body):
    """It is no refusal of this content and no hurry of ours: sent once, and told as what it is."""
    async with service(answering(reply(status, body, Retry_After="3600"))) as (opened, server):
        error = await failure(opened)

    assert type(error) is QuotaReached
    assert (error.status, error.facts["retry_after"], len(posts(server))) == (status, 3600.0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No access to this workspace FORBIDDEN",
        "RATE_LIMIT_EXCEEDED",
        "rate limit reached",
        "Quota exceeded for requests per minute",
        "Too many requests",
        "Request limit exceeded",
        "Invalid credentials",
        "The picture exceeds the limit of 32 MB",
    ],
)
def test_other_words_speak_of_no_quota(text):
    """A rate, a permission or a size are not what a workspace has used up."""
    assert not speaks_of_quota(text)


# --- tokens -------------------------------------------------------------------------------------------


async def test_an_expired_token_is_replaced_and_the_upload_repeated():
    """A 401 carried nothing out: one new token, and the picture once more."""
    grant = TokenEndpoint()
    async with service(answering(reply(401), reply(201, DOCUMENT)), token=grant) as (opened, server):
        assert (await opened.upload("w", PICTURE)).id == "new"

    assert grant.granted == 2
    assert [request.headers["authorization"][-1] for request in posts(server)] == ["1", "2"]


async def test_a_new_token_that_is_refused_ends_it():
    """Then the credentials are not enough."""
    async with service(answering(reply(401, {"error": "no canary-token-2"}))) as (opened, server):
        error = await failure(opened)

    assert isinstance(error, Unauthorized)
    assert len(posts(server)) == 2
    assert "canary" not in said(error)


async def test_a_ready_made_token_that_is_refused_ends_it_at_once():
    """It cannot be renewed."""
    async with service(answering(reply(401)), credentials=StaticToken(Hidden("canary-static"))) as (opened, server):
        error = await failure(opened)

    assert isinstance(error, Unauthorized)
    assert (len(posts(server)), "canary" in said(error)) == (1, False)


@pytest.mark.parametrize("answer", [reply(503), reply(200, b"<html>proxy</html>"), reply(200, {"access_token": ""})])
async def test_without_a_token_nothing_was_sent(answer):
    """Whatever ails the token endpoint: surely nothing was carried out, and it is worth another try."""
    async with service(answering(reply(201, DOCUMENT)), token=lambda _: answer) as (opened, server):
        error = await failure(opened)

    assert isinstance(error, Unavailable)
    assert posts(server) == []
    assert len(server.requests) == 3
