"""Reading the list of workspaces, whole or not at all."""

from __future__ import annotations

import random

import pytest
from rawserver import answering, reply, service

from syncer.errors import UnexpectedAnswer
from syncer.service import client


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
