"""`store`: what is refused, what is kept, under which names, and that nothing is ever overwritten."""

import asyncio
import base64
import hashlib
import json
import tracemalloc
from dataclasses import replace

import google_crc32c
import pytest
from archive_parts import DAY, FOLDER, content, image, opened, picture, remembered, stored, tree

from syncer.archive.sidecar import read
from syncer.errors import ConfigError, Damaged, Refused, SafetyStop, StorageFull, SyncerError
from syncer.model import Content

PNG = picture()
BIG = picture("PNG", edge=1300)  # over 4 MiB: goes through a file


def stage(archive, what, body, **options):
    return archive.stage(what, body, **{"folder": FOLDER, "entry": None, "run": "r1", **options})


async def test_a_picture_and_its_sidecar(tmp_path):
    """A new picture is kept byte for byte, its sidecar beside it tells all of it."""
    async with opened(tmp_path) as archive:
        revision = await stored(archive, image("Cat/1"), PNG)
    assert tree(tmp_path) == [f"{DAY}/+cat=2f1.json", f"{DAY}/+cat=2f1.png"]
    assert (tmp_path / revision.path).read_bytes() == PNG
    assert read((tmp_path / revision.sidecar).read_bytes(), revision.sidecar) == revision
    assert revision.sha256 == hashlib.sha256(PNG).hexdigest()
    assert (revision.number, revision.size, revision.media_type) == (1, len(PNG), "image/png")
    assert revision.fetched_at == "2026-11-22T12:00:00.000Z"


async def test_nothing_has_a_final_name_before_the_commit(tmp_path):
    """Staged is not kept."""
    async with opened(tmp_path) as archive:
        await stage(archive, image(), content(PNG))
        assert tree(tmp_path) == [".staging/1.json", ".staging/1.part"]
    async with opened(tmp_path):
        assert tree(tmp_path) == []


@pytest.mark.parametrize("data", [PNG, picture("JPEG", edge=400), BIG], ids=["inline", "thread", "file"])
@pytest.mark.parametrize("known", [True, False])
async def test_every_way_through_memory_keeps_the_same_bytes(tmp_path, data, known):
    """Small or large, of known length or not."""
    async with opened(tmp_path) as archive:
        body = content(data, length=len(data) if known else None)
        staged = await stage(archive, image(), body)
        await archive.commit([staged])
    assert (tmp_path / staged.revision.path).read_bytes() == data
    assert len(tree(tmp_path)) == 2


def digest(algorithm, data):
    if algorithm == "crc32c":
        return google_crc32c.value(data).to_bytes(4)
    return hashlib.new(algorithm, data).digest()


@pytest.mark.parametrize("data", [PNG, BIG], ids=["memory", "file"])
@pytest.mark.parametrize("algorithm", ["md5", "crc32c", "sha256"])
async def test_stated_hashes_are_checked(tmp_path, data, algorithm):
    """A body that has not the hash its header states is damaged; one that has it, in Google's order too, is taken."""
    async with opened(tmp_path) as archive:
        good = content(data, digests={algorithm: digest(algorithm, data)})
        await archive.commit([await stage(archive, image(), good)])
        with pytest.raises(Damaged, match=algorithm) as damaged:
            await stage(archive, image("b"), content(data, digests={algorithm: digest(algorithm, data + b"x")}))
    assert damaged.value.facts["actual"] == base64.b64encode(digest(algorithm, data)).decode()
    assert len(tree(tmp_path)) == 2


def test_crc32c_is_googles():
    """The known answer from the RFC, in the byte order of `x-goog-hash`."""
    assert digest("crc32c", b"123456789").hex() == "e3069283"


async def test_a_hash_of_another_kind_is_no_reason_to_refuse(tmp_path):
    """What we cannot check we do not judge."""
    async with opened(tmp_path) as archive:
        await stage(archive, image(), content(PNG, digests={"sha3": b"?"}))


REFUSALS = {
    "too large by its header": (content(PNG, length=2 << 30), Refused, "larger"),
    "empty": (content(b""), Damaged, "no bytes"),
    "empty, though promised": (content(b"", length=9), Damaged, "no bytes"),
    "short": (content(PNG, length=len(PNG) + 1), Damaged, "another length"),
    "long": (content(PNG, length=len(PNG) - 1), Damaged, "goes on"),
    "a page": (content(b"<html>Sign in</html>", media_type="image/png"), Damaged, "not a picture"),
    "cut": (content(PNG[:-20], length=None), Damaged, "cut off"),
    "large and cut": (content(BIG[:-20], length=None), Damaged, "cut off"),
    "large and short": (content(BIG, length=len(BIG) + 1), Damaged, "another length"),
}


@pytest.mark.parametrize("why", REFUSALS)
async def test_refusals_leave_nothing(tmp_path, why):
    """What is not the promised picture is refused by name, and leaves no file."""
    body, error, words = REFUSALS[why]
    async with opened(tmp_path) as archive:
        with pytest.raises(error, match=words):
            await stage(archive, image(size=77), body)
        assert tree(tmp_path) == []


async def test_no_bytes_say_what_was_promised(tmp_path):
    """An empty body names the size that the document promises where the header promises none."""
    async with opened(tmp_path) as archive:
        with pytest.raises(Damaged) as damaged:
            await stage(archive, image(size=77), content(b"", length=None))
    assert damaged.value.facts["expected"] == 77


async def test_another_size_than_documented_is_noted(tmp_path):
    """The document may be wrong about the size: the picture is kept, and the note says so."""
    async with opened(tmp_path) as archive:
        assert (await stage(archive, image(size=77), content(PNG))).notes == (
            f"the service says 77 bytes and served {len(PNG)}",
        )
        assert (await stage(archive, image("b", size=len(PNG)), content(PNG))).notes == ()


async def test_the_reserve_is_kept(tmp_path):
    """A picture that would go into the reserve is not even read."""
    async with opened(tmp_path, reserve=1 << 60) as archive:
        with pytest.raises(StorageFull, match="reserve"):
            await stage(archive, image(), content(PNG))
        assert archive.free() > 0


async def test_other_bytes_make_a_second_revision(tmp_path):
    """Changed bytes stand beside the old ones, in the first revision's folder even if `createdAt` moved."""
    async with opened(tmp_path) as archive:
        first = await stored(archive, image(), PNG)
        moved = image(created_at="2030-01-01T00:00:00Z", updated_at="2026-03-05T00:00:00Z")
        second = await stored(archive, moved, picture("WEBP"), entry=remembered(first))
    assert (second.number, second.path) == (2, f"{DAY}/img.r2.webp")
    assert (tmp_path / first.path).read_bytes() == PNG
    assert len(tree(tmp_path)) == 4


async def test_other_metadata_keep_the_file(tmp_path):
    """Where only the document changed, there is one new sidecar, and it names the file that holds the bytes."""
    async with opened(tmp_path) as archive:
        first = await stored(archive, image(), PNG)
        second = await stored(archive, image(updated_at="2026-03-05T00:00:00Z"), PNG, entry=remembered(first))
        third = await stored(archive, image(updated_at="2026-03-06T00:00:00Z"), BIG, entry=remembered(second))
        fourth = await stored(archive, image(updated_at="2026-03-07T00:00:00Z"), BIG, entry=remembered(third))
    assert tree(tmp_path) == [f"{DAY}/img.{end}" for end in ("json", "png", "r2.json", "r3.json", "r3.png", "r4.json")]
    assert (second.path, fourth.path) == (first.path, third.path)
    assert json.loads((tmp_path / second.sidecar).read_bytes())["file"] == "img.png"


@pytest.mark.parametrize("harm", ["lost", "cut"])
async def test_lost_bytes_are_kept_anew(tmp_path, harm):
    """When the remembered file is lost or cut, the same bytes are not thrown away as known."""
    async with opened(tmp_path) as archive:
        first = await stored(archive, image(), PNG)
        if harm == "lost":
            (tmp_path / first.path).unlink()
        else:
            (tmp_path / first.path).write_bytes(PNG[:9])
        second = await stored(archive, image(), PNG, entry=remembered(first))
    assert (tmp_path / second.path).read_bytes() == PNG
    assert second.number == 2


async def test_a_pair_without_an_entry_is_used_again(tmp_path):
    """Killed between the commit and the row: the next run finds the same pair there and writes nothing."""
    async with opened(tmp_path) as archive:
        first = await stored(archive, image(), PNG)
        before = (tmp_path / first.sidecar).read_bytes()
        staged = await archive.stage(image(), content(PNG), folder=FOLDER, entry=None, run="later")
        await archive.commit([staged])
    assert staged.revision == first
    assert (tmp_path / first.sidecar).read_bytes() == before
    assert len(tree(tmp_path)) == 2


async def test_an_older_manifest_meets_newer_revisions(tmp_path):
    """With a manifest restored from before, taken names are passed over, and bytes that stand there are used."""
    async with opened(tmp_path) as archive:
        first = await stored(archive, image(), PNG)
        await stored(archive, image(updated_at="2"), BIG, entry=remembered(first))
        again = await stored(archive, image(updated_at="3"), BIG, entry=remembered(first))
        other = await stored(archive, image(updated_at="4"), picture(seed=9), entry=remembered(first))
    assert (again.number, again.path) == (3, f"{DAY}/img.r2.png")
    assert (other.number, other.path) == (4, f"{DAY}/img.r4.png")


@pytest.mark.parametrize("same", [True, False])
async def test_bytes_that_stand_without_a_sidecar(tmp_path, same):
    """The right bytes only get their sidecar; others are left alone, and the next number is taken."""
    orphan = tmp_path / DAY / "img.png"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(PNG if same else b"something else")
    async with opened(tmp_path) as archive:
        revision = await stored(archive, image(), PNG)
    assert revision.number == (1 if same else 2)
    assert orphan.read_bytes() == (PNG if same else b"something else")
    assert (tmp_path / revision.path).read_bytes() == PNG


@pytest.mark.parametrize("spoiled", [b"", b"{}", b"\xff", None])
async def test_a_spoiled_sidecar_is_left_as_it_is(tmp_path, spoiled):
    """A name that is taken by something unreadable, or by another image's sidecar, is passed over."""
    async with opened(tmp_path) as archive:
        first = await stored(archive, image(), PNG)
        other = (tmp_path / first.sidecar).read_bytes().replace(b'"image": "img"', b'"image": "other"')
        (tmp_path / first.sidecar).write_bytes(other if spoiled is None else spoiled)
        second = await stored(archive, image(), PNG)
    assert second.number == 2
    assert (tmp_path / first.sidecar).read_bytes() == (other if spoiled is None else spoiled)


async def test_the_same_image_twice_in_a_batch(tmp_path):
    """Changed between two sweeps, staged twice before either is committed: both are kept."""
    async with opened(tmp_path) as archive:
        batch = await asyncio.gather(
            *(stage(archive, image(updated_at=str(n)), content(picture(seed=n))) for n in range(5))
        )
        await archive.commit(batch)
    assert sorted(staged.revision.number for staged in batch) == [1, 2, 3, 4, 5]
    assert all(
        hashlib.sha256((tmp_path / staged.revision.path).read_bytes()).hexdigest() == staged.revision.sha256
        for staged in batch
    )


async def test_a_name_taken_meanwhile_is_not_overwritten(tmp_path):
    """Should a foreign hand put a file under a final name between staging and commit, we stop."""
    async with opened(tmp_path) as archive:
        staged = await stage(archive, image(), content(PNG))
        (tmp_path / DAY).mkdir(parents=True)
        (tmp_path / staged.revision.path).write_bytes(b"foreign")
        with pytest.raises(SafetyStop, match="taken"):
            await archive.commit([staged])
    assert (tmp_path / staged.revision.path).read_bytes() == b"foreign"


async def test_without_sidecars(tmp_path):
    """When sidecars are switched off, only bytes are kept, and found again by their hash."""
    async with opened(tmp_path, sidecars=False) as archive:
        first = await stored(archive, image(), PNG)
        assert await stored(archive, image(), PNG) == first
        changed = await stored(archive, image(updated_at="2"), picture(seed=3), entry=remembered(first))
    assert tree(tmp_path) == [f"{DAY}/img.png", f"{DAY}/img.r2.png"]
    assert changed.number == 2


async def test_adopting_a_pair(tmp_path):
    """An image that the manifest lost is taken from the disk: the newest pair of the same `updatedAt`."""
    async with opened(tmp_path) as archive:
        assert await archive.adopt(image(), FOLDER) is None
        first = await stored(archive, image(), PNG)
        second = await stored(archive, image(updated_at="2"), picture(seed=2), entry=remembered(first))
        assert await archive.adopt(image(), FOLDER) == first
        assert await archive.adopt(image(updated_at="2"), FOLDER) == second
        assert await archive.adopt(image(updated_at="3"), FOLDER) is None
        (tmp_path / first.path).write_bytes(b"rotten")
        assert await archive.adopt(image(), FOLDER) is None


@pytest.mark.parametrize("number", [b"1e999", b"9" * 5000], ids=["beyond a float", "5,000 digits"])
async def test_a_pair_with_a_number_for_its_updated_at_is_not_adopted(tmp_path, number):
    """Whatever its size: it equals nothing that the manifest could remember, so the picture is fetched anew."""
    document = b'{"id":"img","big":%b,"updatedAt":%b}'
    async with opened(tmp_path) as archive:
        first = await stored(archive, image(document=document % (number, b'"1"'), updated_at="1"), PNG)
        odd = image(document=document % (number, number), updated_at=None)
        await stored(archive, odd, picture(seed=2), entry=remembered(first))
        assert await archive.adopt(odd, FOLDER) is None
        assert await archive.adopt(image(updated_at="1"), FOLDER) == first


async def test_the_marker(tmp_path):
    """A fresh archive has no id; its marker gives it one for good."""
    async with opened(tmp_path / "new" / "archive") as archive:
        assert archive.id is None
        name = archive.create_marker()
        assert archive.id == name
        with pytest.raises(SafetyStop):
            archive.create_marker()
    async with opened(tmp_path / "new" / "archive") as archive:
        assert archive.id == name
    assert json.loads((archive.root / "syncer-archive.json").read_bytes()) == {
        "format": 1,
        "archive": name,
        "created": "2026-11-22T12:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("marker", "error"),
    [
        (b"", SafetyStop),
        (b"{}", SafetyStop),
        (b"\xff", SafetyStop),
        (b'{"format":2,"archive":"","created":""}', ConfigError),
    ],
)
async def test_a_foreign_marker_stops_us(tmp_path, marker, error):
    """A marker that cannot be read, or is of a newer format, is not passed over."""
    (tmp_path / "syncer-archive.json").write_bytes(marker)
    with pytest.raises(error):
        async with opened(tmp_path):
            pass


async def test_a_cancelled_stage_leaves_nothing(tmp_path):
    """A download that is stopped halfway removes what it had written, and gives its memory back."""
    started, never = asyncio.Event(), asyncio.Event()

    async def slow():
        yield BIG[: 1 << 20]
        yield BIG[1 << 20 : 2 << 20]
        started.set()
        await never.wait()

    async with opened(tmp_path, memory=512 << 10) as archive:
        task = asyncio.create_task(stage(archive, image(), Content(slow())))
        await started.wait()
        assert tree(tmp_path) == [".staging/1.part"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tree(tmp_path) == []
        await stage(archive, image(), content(BIG))


async def test_memory_is_bounded(tmp_path):
    """What many large pictures at once hold of memory depends on the bound, not on their number."""
    data = picture(edge=1000)  # 3 MB: collected in memory
    async with opened(tmp_path, memory=6 << 20) as archive:
        await stage(archive, image("warm"), content(data))
        tracemalloc.start()
        try:
            async with asyncio.TaskGroup() as group:
                for n in range(12):
                    group.create_task(stage(archive, image(str(n)), content(data)))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert len(data) > 2 << 20
    assert peak < 18 << 20  # a body may outlive its turn for a moment, in the thread that wrote it


async def test_a_document_that_is_not_json_is_not_kept(tmp_path):
    """Without a document there is no sidecar, and without a sidecar no pair."""
    async with opened(tmp_path) as archive:
        with pytest.raises(SyncerError):
            await stage(archive, replace(image(), document=b"{"), content(PNG))
        assert tree(tmp_path) == []
