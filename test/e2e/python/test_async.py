import asyncio
import os
import uuid

import pytest
from daytona import AsyncDaytona, CreateSandboxFromSnapshotParams, DaytonaConfig, FileUpload, ListSandboxesQuery
from clients import errors
from daytona.common.filesystem import FileDownloadRequest


def run(body):
    async def main():
        config = DaytonaConfig(api_key=os.environ["DAYTONA_API_KEY"], api_url=os.environ["DAYTONA_API_URL"])
        async with AsyncDaytona(config) as daytona:
            box = await daytona.create(CreateSandboxFromSnapshotParams(snapshot="tiny", labels={"mark": uuid.uuid4().hex}))
            try:
                await body(daytona, box)
            finally:
                try:
                    await box.delete()
                except errors.DaytonaNotFoundError:
                    pass

    asyncio.run(main())


def test_life():
    async def body(daytona, box):
        assert (await daytona.get(box.name)).id == box.id
        assert [b.id async for b in daytona.list(ListSandboxesQuery(labels={"mark": box.labels["mark"]}))] == [box.id]
        await box.set_labels({"k": "v"})
        await box.set_autostop_interval(5)
        await box.set_auto_archive_interval(6)
        await box.set_auto_delete_interval(8)
        await box.fs.upload_file(b"kept", "kept")
        await box.stop()
        await box.start()
        got = await daytona.get(box.id)
        assert (got.state, got.labels, got.auto_stop_interval, got.auto_archive_interval, got.auto_delete_interval) == ("started", {"k": "v"}, 5, 6, 8)
        assert await box.fs.download_file("kept") == b"kept"

    run(body)


def test_processes_side_by_side():
    async def body(_, box):
        results = await asyncio.gather(*(box.process.exec(f"echo {i}; exit {i}", env={"I": str(i)}) for i in range(20)))
        assert [(r.exit_code, r.result) for r in results] == [(i, f"{i}\n") for i in range(20)]
        with pytest.raises(errors.DaytonaTimeoutError):
            await box.process.exec("sleep 60", timeout=1)

    run(body)


def test_files():
    async def body(_, box):
        await box.fs.create_folder("d", "755")
        await box.fs.upload_files([FileUpload(source=str(i).encode(), destination=f"d/{i}.txt") for i in range(5)])
        got = await box.fs.download_files([FileDownloadRequest(source=f"d/{i}.txt") for i in range(5)])
        assert [r.result for r in got] == [str(i).encode() for i in range(5)]
        await box.fs.upload_file_stream(b"s" * 3_000_000, "d/stream")
        assert sum([len(c) async for c in await maybe(box.fs.download_file_stream("d/stream"))]) == 3_000_000
        assert len(await box.fs.list_files("d")) == 6
        assert (await box.fs.get_file_info("d/1.txt")).size == 1
        await box.fs.move_files("d/1.txt", "d/one.txt")
        await box.fs.replace_in_files(["d/one.txt"], "1", "one")
        assert [m.content for m in await box.fs.find_files("d", "one")] == ["one"]
        assert len((await box.fs.search_files("d", "one.*")).files) == 1
        await box.fs.set_file_permissions("d/one.txt", mode="600")
        await box.fs.delete_file("d", recursive=True)
        with pytest.raises(errors.DaytonaFileNotFoundError):
            await box.fs.list_files("d")

    run(body)


async def maybe(stream):
    """The stream itself, or what a coroutine returns: releases of the client differ."""
    return await stream if asyncio.iscoroutine(stream) else stream


def test_code_in_the_base_snapshot():
    async def main():
        async with AsyncDaytona(DaytonaConfig(api_key=os.environ["DAYTONA_API_KEY"], api_url=os.environ["DAYTONA_API_URL"])) as daytona:
            box = await daytona.create()
            try:
                assert (await box.process.code_run("print(6 * 7)")).result == "42\n"
            finally:
                await box.delete()

    asyncio.run(main())


def test_a_wrong_key():
    async def main():
        async with AsyncDaytona(DaytonaConfig(api_key="dgt_not_a_key_of_this_server", api_url=os.environ["DAYTONA_API_URL"])) as daytona:
            with pytest.raises(errors.DaytonaAuthenticationError):
                await daytona.get("x")

    asyncio.run(main())
