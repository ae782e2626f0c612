"""Keep pictures for good: stage them, prove them, commit them in pairs of bytes and sidecar.

Promises 1 and 2 of the architecture live here. A pair is committed by its sidecar's final name, which it gets only when
its bytes are durable under theirs; `commit` returns when both are. Nothing under a final name is ever rewritten or
removed. What a crash leaves is completed or cleared away when the archive is next opened.
It does not ask the service or the manifest: callers bring the image, its content and its entry.
"""

from __future__ import annotations

import mmap
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from io import FileIO
from itertools import count
from pathlib import Path
from uuid import uuid4

import msgspec

from syncer.archive import layout
from syncer.archive.commit import Staged, carry_out, recover
from syncer.archive.disk import Disk, in_thread, now, translated
from syncer.archive.lock import WRITER, held, settle
from syncer.archive.mapped import Mapped
from syncer.archive.memory import Memory
from syncer.archive.mend import mend
from syncer.archive.places import Places, Present
from syncer.archive.proof import nothing, prove
from syncer.archive.receive import Bounds, flows, receive, weight
from syncer.archive.sidecar import render
from syncer.errors import ConfigError, SafetyStop
from syncer.model import Content, Entry, Image, Revision

FORMAT = 1

_INLINE = 64 << 10  # up to here a thread costs more than the work


class _Marker(msgspec.Struct):
    format: int
    archive: str
    created: str


class Archive:
    """An archive that is open and ours alone; `id` is its marker's, None while it has no marker."""

    def __init__(
        self, disk: Disk, *, bounds: Bounds, memory: int, sidecars: bool, clock: Callable[[], datetime]
    ) -> None:
        self.root = disk.root
        self.id = _read_marker(disk.root)
        self._staging = str(disk.root / layout.STAGING)
        self._disk = disk
        self._bounds = bounds
        self._memory = Memory(memory)
        self._sidecars = sidecars
        self._clock = clock
        self._places = Places(disk.root)
        self._numbers = count(1)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        root: Path,
        *,
        reserve: int,
        image_bytes: int,
        sidecars: bool = True,
        command: str = "backup",
        memory: int = 16 << 20,
        clock: Callable[[], datetime] = now,
    ) -> AsyncIterator[Archive]:
        """Open the archive at `root`, which is made if it is not there, and hold it for the block.

        Raise `AlreadyRunning` if another process has it, `SafetyStop` for a marker that cannot be read, `ConfigError`
        for one of a newer format, `ArchiveUnwritable` where nothing can be written.
        """
        root = root.absolute()
        with ExitStack() as stack:
            with translated(root):
                staging = root / layout.STAGING
                staging.mkdir(parents=True, exist_ok=True)
                clean = stack.enter_context(held(staging / WRITER, command=command, since=layout.stamp(clock())))
                settle(staging)
                disk = Disk(root)
                stack.callback(disk.close)
                bounds = Bounds(disk, image_bytes=image_bytes, reserve=reserve)
                archive = cls(disk, bounds=bounds, memory=memory, sidecars=sidecars, clock=clock)
                await in_thread(recover, disk, clean=clean)
            yield archive

    def create_marker(self) -> str:
        """Say on the disk, for good, that this folder is an archive and which one; return its new id."""
        marker = _Marker(FORMAT, str(uuid4()), layout.stamp(self._clock()))
        with translated(self.root):
            staged = self._staged("marker")
            self._disk.write(staged, msgspec.json.format(msgspec.json.encode(marker), indent=2) + b"\n")
            self._disk.settle([staged], [])
            self._disk.settle([], self._disk.move(staged, self.root / layout.MARKER))
        self.id = marker.archive
        return marker.archive

    def free(self) -> int:
        """Count the bytes that can still be written, the reserve among them."""
        with translated(self.root):
            return self._disk.free()

    def has_room(self, size: int) -> bool:
        """Say whether so many bytes can be written without going into the reserve."""
        return self.free() - size >= self._bounds.reserve

    async def stage(self, image: Image, content: Content, *, folder: str, entry: Entry | None, run: str) -> Staged:
        """Receive a picture and prove it; it is kept only once it is committed.

        `folder` is the workspace's, `entry` what the manifest holds of the image. Raise `Refused` for too large a one,
        `Damaged` for what is not the promised picture, `StorageFull` where it would go into the reserve.
        """
        self._bounds.permit(content.length or 0)
        self._bounds.make_room(content.length or 0)
        number = next(self._numbers)
        part, sidecar = self._staged(f"{number}.part"), self._staged(f"{number}.json")

        def finish(length: int | None) -> Staged:
            with translated(self.root), memory[:length] as held:
                body = None if length is None else held
                return self._finish(image, content, body, part, sidecar, folder=folder, entry=entry, run=run)

        done = False
        async with self._memory.lent(weight(content), lasting=flows(content)) as memory:
            try:
                length = await receive(content, part, self._bounds, memory)
                inline = length is not None and length <= _INLINE
                staged = finish(length) if inline else await in_thread(finish, length)
                done = True
                return staged
            finally:
                if not done:
                    self._disk.discard(part, sidecar)

    async def commit(self, batch: Sequence[Staged]) -> None:
        """Give all of a batch their final names, durably: bytes first, then the sidecars that commit them.

        After a failed sync nothing of the batch is believed; what else fails is completed at the next opening.
        """
        with translated(self.root):
            try:
                await carry_out(self._disk, batch, self._staged(f"{next(self._numbers)}.plan"))
            finally:
                for staged in batch:
                    one = staged.revision
                    named = [name for file, name in ((staged.part, one.path), (staged.sidecar, one.sidecar)) if file]
                    self._places.release(one.sidecar, *named)

    def discard(self, staged: Staged) -> None:
        """Drop what was staged and is not going to be committed."""
        self._disk.discard(*(path for path in (staged.part, staged.sidecar) if path))
        self._places.release(staged.revision.sidecar)

    async def put_back(self, content: Content | bytes, path: str, *, sha256: str, run: str) -> str | None:
        """Put back a file that is damaged or lost, if these are its bytes; returns where the damaged one lies now.

        Raise `Damaged` for other bytes: then nothing has been touched.
        """
        part = self._staged(f"{next(self._numbers)}.part")
        try:
            if isinstance(content, bytes):
                await self._save(part, content)
            else:
                async with self._memory.lent(weight(content), lasting=flows(content)) as memory:
                    if (length := await receive(content, part, self._bounds, memory)) is not None:
                        with memory[:length] as body:
                            await self._save(part, body)
            with translated(self.root):
                return await in_thread(mend, self._disk, part, path, sha256=sha256, run=run)
        finally:
            self._disk.discard(part)

    async def _save(self, part: str, body: bytes | memoryview) -> None:
        self._bounds.make_room(len(body))
        with translated(self.root):
            await in_thread(self._disk.write, part, body)

    async def adopt(self, image: Image, folder: str) -> Revision | None:
        """Find a committed pair of an image that the manifest does not know: the newest that has its `updatedAt`.

        Its bytes are hashed before they are believed. Where there is none, this costs one look at the disk.
        """
        day = self._places.day(image, folder)
        if not self._places.taken(f"{day}/{layout.stem(image.id, 1)}.json"):
            return None
        return await in_thread(self._places.newest, image, day)

    def _finish(
        self,
        image: Image,
        content: Content,
        body: memoryview | None,
        part: str,
        sidecar: str,
        *,
        folder: str,
        entry: Entry | None,
        run: str,
    ) -> Staged:
        """Prove a body, in memory or in the file `part`, and stage what is to be kept of it."""
        if body is None:
            with FileIO(part) as file, Mapped(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                proof = prove(mapped, image, content)
        elif body:
            proof = prove(body, image, content)
        else:
            raise nothing(image, content)
        place = self._places.find(image, proof, folder=folder, entry=entry)
        if isinstance(place, Present):
            self._disk.discard(part)
            return Staged(place.revision, notes=proof.notes)
        revision = Revision(
            workspace_id=image.workspace_id,
            image_id=image.id,
            number=place.number,
            sha256=proof.sha256,
            size=proof.size,
            media_type=proof.kind.media_type,
            path=place.path,
            sidecar=place.sidecar,
            fetched_at=layout.stamp(self._clock()),
            run=run,
            document=image.document,
        )
        if place.stored:
            self._disk.discard(part)
        elif body is not None:
            self._bounds.make_room(len(body))
            self._disk.write(part, body)
        words = render(revision) if self._sidecars else b""
        if words:
            self._disk.write(sidecar, words)
        return Staged(
            revision,
            part=None if place.stored else part,
            sidecar=sidecar if words else None,
            notes=proof.notes,
            words=words,
        )

    def _staged(self, name: str) -> str:
        return f"{self._staging}/{name}"


def _read_marker(root: Path) -> str | None:
    """Read the archive's id; None for a folder without a marker."""
    try:
        data = (root / layout.MARKER).read_bytes()
    except FileNotFoundError:
        return None
    try:
        marker = msgspec.json.decode(data, type=_Marker)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SafetyStop(
            "the archive's marker cannot be read",
            hint="is this the right folder? If it is, put the marker back from a copy",
            path=layout.MARKER,
        ) from error
    if marker.format > FORMAT:
        raise ConfigError(
            "the archive was made by a newer syncer", hint="upgrade syncer", format=marker.format, known=FORMAT
        )
    return marker.archive
