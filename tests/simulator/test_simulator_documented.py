"""Every documented endpoint answers as the API description says, in success and in error."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse
from PIL import Image
from simulator_api import Answer, Api

from syncer.simulator import BRAND, CLOSED, ME, SOCIAL, Simulator

DESCRIPTION = Path(__file__).parents[1] / "samples" / "openapi.yaml"
Check = Callable[[str, str, Answer], None]
IMAGES = "/image-service/v1/workspaces/{}/images"


@pytest.fixture(scope="module")
def check() -> Check:
    """Hold one answer against the API description."""
    described = OpenAPI.from_file_path(str(DESCRIPTION))

    def check(method: str, path: str, answer: Answer) -> None:
        request = MockRequest("https://app.neuroflash.com", method, "/api" + path)
        kind = answer.headers.get("Content-Type", "application/json").partition(";")[0]
        described.validate_response(request, MockResponse(answer.body, answer.status, content_type=kind))

    return check


@pytest.mark.parametrize(
    "path",
    [
        IMAGES.format(BRAND),
        IMAGES.format(SOCIAL) + "?page=2&size=2",
        "/workspace-service/v1/workspaces",
        f"/image-service/v1/workspaces/{BRAND}/image-models",
    ],
)
async def test_listings_are_as_described(api: Api, check: Check, path: str) -> None:
    """Each listing has the described page and rows."""
    answer = await api.get(path)

    assert answer.status == 200
    assert answer.json["data"]
    check("get", path.partition("?")[0], answer)


async def test_every_image_is_as_described(api: Api, sim: Simulator, check: Check) -> None:
    """One image's own answer fits the description and equals its row in the listing."""
    rows = (await api.page()).json["data"]

    for row in rows:
        path = f"{IMAGES.format(BRAND)}/{row['id']}"
        answer = await api.get(path)
        check("get", path, answer)
        assert answer.json == row


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", IMAGES.format(BRAND) + "?size=201", 422),
        ("get", IMAGES.format(BRAND) + "?page=0", 422),
        ("get", IMAGES.format(BRAND) + "?page=ten", 422),
        ("get", IMAGES.format(CLOSED), 403),
        ("get", IMAGES.format("nowhere"), 404),
        ("get", IMAGES.format(BRAND) + "/nothing", 404),
        ("delete", IMAGES.format(BRAND) + "/nothing", 404),
        ("get", "/workspace-service/v1/workspaces?size=-1", 422),
        ("get", f"/image-service/v1/workspaces/{BRAND}/image-models?size=0", 422),
    ],
)
async def test_refusals_are_as_described(api: Api, check: Check, method: str, path: str, status: int) -> None:
    """Each refusal has its status and a described body that says why."""
    answer = await api.call(method.upper(), path)

    assert answer.status == status
    assert answer.json.get("error") or answer.json["errors"][0]["field"]
    check(method, path.partition("?")[0], answer)


async def test_no_token_no_answer(api: Api, check: Check) -> None:
    """Without a token, and with an unknown one, everything is 401 in the described form."""
    for headers in ({}, {"Authorization": "Bearer made-up"}, {"Authorization": "Basic ZGVtbzo="}):
        for path in (IMAGES.format(BRAND), "/workspace-service/v1/workspaces"):
            answer = await api.get(path, headers=headers)
            assert (answer.status, answer.json["code"]) == (401, "UNAUTHORIZED")
            check("get", path, answer)


def picture(kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (30, 20), "teal").save(out, kind)
    return out.getvalue()


def data_uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_upload_as_data(api: Api, check: Check, kind: str) -> None:
    """A data URI becomes the newest image, with its true size, and its bytes come back unchanged."""
    path, content = IMAGES.format(BRAND), picture(kind)
    answer = await api.call("POST", path, json={"imageUrl": data_uri(content)})

    check("post", path, answer)
    assert answer.status == 201
    assert answer.json == (await api.page("?size=1")).json["data"][0]
    assert answer.json["createdByUserId"] == ME
    facts = (answer.json["imageWidth"], answer.json["imageHeight"], answer.json["imageSize"])
    assert facts == (30, 20, len(content))
    assert (await api.content(answer.json["id"])).body == content


async def test_upload_by_url(api: Api, sim: Simulator, image: str) -> None:
    """A URL on this machine is fetched and kept."""
    answer = await api.call("POST", IMAGES.format(SOCIAL), json={"imageUrl": sim.signed_url(BRAND, image)})

    assert answer.status == 201
    assert (await api.content(answer.json["id"], SOCIAL)).body == sim.workspaces[BRAND][image].body


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"imageUrl": "https://example.com/a.png"}', 400),
        (b'{"imageUrl": "http://10.0.0.1/a.png"}', 400),
        (b'{"imageUrl": "file:///etc/hosts"}', 400),
        (b"[]", 422),
        (b'{"imageUrl": 7}', 422),
        (b'{"imageUrl": "data:image/png;base64,bm90IGEgcGljdHVyZQ=="}', 422),
        (b'{"imageUrl": "data:image/png;base64,*"}', 422),
        (b'{"imageUrl": "data:image/png"}', 422),
        (b'{"imageUrl": "http://127.0.0.1:9/a.png"}', 422),
    ],
)
async def test_junk_is_not_kept(api: Api, sim: Simulator, check: Check, body: bytes, status: int) -> None:
    """What is no picture, or not on this machine, is refused in the described form and leaves no row."""
    path, before = IMAGES.format(BRAND), len(sim.workspaces[BRAND])
    answer = await api.call("POST", path, data=body)

    assert answer.status == status
    assert len(sim.workspaces[BRAND]) == before
    check("post", path, answer)


async def test_only_the_owner_deletes(api: Api, sim: Simulator, check: Check) -> None:
    """Somebody else's image is 403; one's own is gone from the listing, for the id, and for its bytes."""
    shelf = sim.workspaces[BRAND]
    mine, theirs = shelf.add(createdByUserId=ME), shelf.add(createdByUserId="usr_other")
    path = IMAGES.format(BRAND)

    refused = await api.call("DELETE", f"{path}/{theirs}")
    check("delete", f"{path}/{theirs}", refused)
    assert (refused.status, theirs in shelf) == (403, True)

    assert (await api.call("DELETE", f"{path}/{mine}")).status == 204
    assert (await api.get(f"{path}/{mine}")).status == 404
    assert (await api.content(mine)).status == 404
    assert mine not in [row["id"] for row in (await api.page()).json["data"]]


async def test_unknown_paths_are_json(api: Api) -> None:
    """A path that is not documented is 404, a method that is not is 405, both with an error body."""
    unknown = await api.get("/image-service/v2")
    method = await api.call("PUT", IMAGES.format(BRAND))

    assert (unknown.status, method.status) == (404, 405)
    assert unknown.json["error"]
    assert method.json["error"]


async def test_the_token_endpoint_takes_a_form(api: Api, sim: Simulator) -> None:
    """Right credentials in a form give a token that works, with its lifetime."""
    form = {"grant_type": "client_credentials", "client_id": "demo", "client_secret": "demo-secret", "scope": "openid"}
    granted = await api.call("POST", sim.token_url, data=form, headers={})

    assert (granted.status, granted.json["token_type"], granted.json["expires_in"]) == (200, "Bearer", 14399)
    token = {"Authorization": f"Bearer {granted.json['access_token']}"}
    assert (await api.get("/workspace-service/v1/workspaces", headers=token)).status == 200


@pytest.mark.parametrize(
    ("wrong", "status", "error"),
    [
        ({"client_secret": "guess"}, 401, "invalid_client"),
        ({"client_id": "guess"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"scope": ""}, 400, "invalid_scope"),
    ],
)
async def test_wrong_credentials(api: Api, sim: Simulator, wrong: dict[str, str], status: int, error: str) -> None:
    """Anything else gives no token and the error that OAuth names for it."""
    form: dict[str, Any] = {"grant_type": "client_credentials", "client_id": "demo", "client_secret": "demo-secret"}
    answer = await api.call("POST", sim.token_url, data={**form, "scope": "openid", **wrong}, headers={})

    assert (answer.status, answer.json) == (status, {"error": error})
