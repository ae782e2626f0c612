"""What `syncer run` may be asked for: by `trigger`, `pause` and `resume`, and by whoever finds its socket."""

from __future__ import annotations

import asyncio
import json
import stat

import pytest
from daemon_outside import LISTEN, ONCE, STEADY, daemon
from outside import Make, Outside

from syncer.simulator import faults
from syncer.simulator.server import Simulator

pytestmark = pytest.mark.slow  # a process is started for each: over a second


@pytest.fixture
def once(make: Make) -> Outside:
    """A configuration for one full pass at the start, and nothing more by itself."""
    return make(schedule=ONCE, daemon=LISTEN)


@pytest.mark.parametrize("command", ["trigger", "pause", "resume"])
async def test_without_a_daemon_there_is_nobody_to_ask(once: Outside, command: str):
    """Exit 2 and what to start."""
    asked = await once(command)

    assert asked.code == 2
    assert "no daemon is running" in asked.err
    assert "syncer run" in asked.err


async def test_the_socket_is_for_its_own_user_alone_and_goes_with_the_daemon(once: Outside):
    """Whoever may write there can order it about: mode 0600, in the folder that the service manager made."""
    path = once.config.parent / "runtime" / "control.sock"
    async with daemon(once) as running:
        await running.ready()
        assert stat.S_ISSOCK(path.lstat().st_mode)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert not path.exists()


async def test_the_socket_may_be_put_elsewhere(once: Outside):
    """`daemon.socket` names it, for the daemon and for whoever asks."""
    path = once.config.parent / "elsewhere.sock"
    once.change("daemon.socket", str(path))
    async with daemon(once) as running:
        await running.ready()
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert (await running.triggered()).code == 0


async def test_trigger_begins_a_full_pass_and_can_wait_for_it(sim: Simulator, shelf: str, once: Outside):
    """What was changed an hour ago is here when the command ends with 0; and it answers at once where nobody waits."""
    async with daemon(once) as running:
        await running.passed()
        changed = sim.workspaces[shelf].ids[-1]
        sim.workspaces[shelf].repaint(changed)
        waited = await running.triggered("--wait")
        assert once.images()[changed]["revision"] == 2
        since = len(running.log)
        assert (await running.triggered(shelf)).code == 0
        await running.passed(since=since)

    assert waited.code == 0
    assert waited.summary["ok"]
    assert waited.summary["exit_code"] == 0


async def test_trigger_makes_a_quick_pass_or_a_verification_instead(sim: Simulator, shelf: str, once: Outside):
    """A quick pass finds what is new; a verification finds no damage, and the next one looks at the next part."""
    async with daemon(once) as running:
        await running.passed()
        new = sim.workspaces[shelf].add()
        quick = await running.triggered("--quick", "--wait")
        first = await running.triggered("--verify", "--wait")
        second = await running.triggered("--verify", "--wait")

    assert quick.code == first.code == second.code == 0
    assert new in once.images()
    assert [line["mode"] for line in running.lines("pass.began")] == ["full", "quick"]
    assert "part 1 of 30" in first.summary["message"]
    assert "part 2 of 30" in second.summary["message"]


async def test_what_is_triggered_waits_for_the_run_under_way(sim: Simulator, once: Outside):
    """One run at a time, also for a person; who asks is told."""
    go_on = asyncio.Event()
    sim.faults.on("listing", faults.before(lambda _: go_on.wait()))
    async with daemon(once) as running:
        await running.logged("pass.began", mode="full")
        asked = await running.triggered("--quick")
        assert len(running.lines("pass.began")) == 1
        go_on.set()
        await running.passed("quick")

    assert "behind the run under way" in asked.summary["message"]
    assert [line["event"] for line in running.log if line.get("event") in {"pass.began", "pass.ended"}] == [
        *("pass.began", "pass.ended"),
        *("pass.began", "pass.ended"),
    ]


async def test_trigger_for_a_workspace_that_nobody_configured_is_2(once: Outside, shelf: str):
    """With a hint that names what there is."""
    async with daemon(once) as running:
        await running.ready()
        asked = await running.triggered("nowhere")

    assert asked.code == 2
    assert shelf in asked.summary["hint"]


async def test_a_failure_is_the_exit_code_of_who_waits_for_it(sim: Simulator, shelf: str, once: Outside):
    """`trigger --wait` ends as `backup` would have: 3 where an image failed."""
    async with daemon(once) as running:
        await running.passed()
        await running.status("last good run")
        sim.workspaces[shelf].add()
        sim.faults.on("content", faults.status(500), times=1)
        asked = await running.triggered("--wait")

    assert asked.code == 3
    assert asked.summary["exit_code"] == 3


async def test_paused_it_begins_nothing_until_resumed(sim: Simulator, shelf: str, make: Make):
    """A schedule of one second is silent for longer; a person may still ask; resumed, it catches up by itself."""
    outside = make(schedule=STEADY, daemon=LISTEN)
    async with daemon(outside) as running:
        await running.passed()
        assert (await outside("pause")).code == 0
        await running.status("aused")
        assert (await running.triggered("--quick", "--wait")).code == 0
        quiet = len(running.lines("pass.began"))
        new = sim.workspaces[shelf].add()
        await asyncio.sleep(2.5)
        assert len(running.lines("pass.began")) == quiet
        assert (await outside("resume")).code == 0
        await running.logged("image.stored", image=new)


async def test_a_backup_beside_the_daemon_is_6_and_names_trigger(once: Outside):
    """Who forgot that a daemon runs is told what to type instead; reading needs no daemon's leave."""
    async with daemon(once) as running:
        await running.passed()
        refused = await once("backup")
        assert (await once("status")).code == 0

    assert refused.code == 6
    assert "syncer trigger" in refused.err


async def test_a_daemon_follows_no_orders_for_another_archive(once: Outside):
    """Exit 2: with several instances on a machine, an order must not reach the wrong one."""
    path = once.config.parent / "runtime" / "control.sock"
    async with daemon(once) as running:
        await running.ready()
        asked = await once(
            "--set", f"daemon.socket={path}", "--set", f"archive.path={once.config.parent / 'other'}", "trigger"
        )

    assert asked.code == 2
    assert "another archive" in asked.err


async def test_what_is_no_order_harms_nobody(once: Outside):
    """Garbage on the socket gets an answer, or none; the next who asks properly is served."""
    async with daemon(once) as running:
        await running.ready()
        path = once.config.parent / "runtime" / "control.sock"
        for garbage in (b"\xff\xfe\n", b"[]\n", b"{}\n", b'{"ask": "trigger", "work": "rm"}\n', b"x" * 100_000 + b"\n"):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(garbage)
            answer = await reader.read()
            assert not answer or not json.loads(answer)["ok"]
            writer.close()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"ask": "status"}\n')
        assert json.loads(await reader.read())["ok"]
        writer.close()
