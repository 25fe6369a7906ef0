"""Public data sets that `sealround data fetch` brings from their publishers into the data folder."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sealround.clinical.download import Checksum, Observer, Patience, RemoteFile, download, matches
from sealround.errors import ServiceError, UsageError, VerificationError
from sealround.study.words import nearest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PUBLIC_SETS", "Fetched", "LocalFile", "PublicSet", "fetch", "public_set"]


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file of a set in the data folder.

    Attributes:
        place: Where it goes, relative to the data folder; studies name it as ``data:<place>``.
        size_bytes: How large it is.
        checksum: What it hashes to.
        member: Its name in the archive that was downloaded; empty where the download is the file itself.
    """

    place: str
    size_bytes: int
    checksum: Checksum
    member: str = ""


@dataclass(frozen=True, slots=True)
class PublicSet:
    """One public data set.

    Attributes:
        name: What `sealround data fetch` calls it.
        title: One line.
        licence: Its terms.
        page: The publisher's page, a DOI where there is one.
        remote: What is downloaded.
        files: What comes of it.
    """

    name: str
    title: str
    licence: str
    page: str
    remote: RemoteFile
    files: tuple[LocalFile, ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of one file.

    Attributes:
        path: Where it is.
        state: ``fetched`` now; ``present`` before, as published; ``different`` from the published one, and kept.
    """

    path: Path
    state: Literal["fetched", "present", "different"]


def _heart_file(hospital: str, size_bytes: int, sha256: str) -> LocalFile:
    name = f"processed.{hospital}.data"
    return LocalFile(f"heart_disease_uci/{name}", size_bytes, Checksum("sha256", sha256), member=name)


# MedMNIST publishes MD5 only (it is in its Python package, `medmnist.INFO`).
_PNEUMONIA_MD5 = Checksum("md5", "28209eda62fecd6e6a2d98b1501bb15f")

PUBLIC_SETS: tuple[PublicSet, ...] = (
    PublicSet(
        name="pneumoniamnist",
        title="PneumoniaMNIST: 5,856 children's chest X-rays, 28 x 28 pixels, normal or pneumonia",
        licence="CC BY 4.0",
        page="https://doi.org/10.5281/zenodo.10519652",
        remote=RemoteFile(
            "https://zenodo.org/records/10519652/files/pneumoniamnist.npz?download=1", 4_170_669, _PNEUMONIA_MD5
        ),
        files=(LocalFile("pneumoniamnist_28/pneumoniamnist_28.npz", 4_170_669, _PNEUMONIA_MD5),),
    ),
    PublicSet(
        name="heart-disease",
        title="UCI Heart Disease: 920 patients of four hospitals, the publisher's own files",
        licence="CC BY 4.0",
        page="https://doi.org/10.24432/C52P4X",
        remote=RemoteFile(
            "https://archive.ics.uci.edu/static/public/45/heart+disease.zip",
            128_894,
            Checksum("sha256", "b17cd273da9ce1caa4710fce80227ea454d4dbf9fcbc8e6a9121672751563adc"),
        ),
        files=(
            _heart_file("cleveland", 18_461, "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8"),
            _heart_file("hungarian", 10_263, "d1ad108f785768cd3d7e82dc522e6f5a61eea93cccfb3a46ee8076f73fc3d796"),
            _heart_file("switzerland", 4_109, "834a405ccf5b66ab4056bb77794adc8df0b7125186454c0a1d002d33c6c3b314"),
            _heart_file("va", 6_737, "e7c93d8d0d2acdadfa4c5e8de768e2191e7f618b952e29623f1f0d5949ff6b8f"),
        ),
    ),
)


def public_set(name: str) -> PublicSet:
    """Return a public data set by name.

    Raises:
        UsageError: If there is none of that name; the hint has the nearest.
    """
    by_name = {public.name: public for public in PUBLIC_SETS}
    if name not in by_name:
        meant = nearest(name, by_name)
        hint = f"did you mean {meant}?" if meant else f"there are: {', '.join(by_name)}"
        raise UsageError(f"there is no public data set {name!r}", hint=hint)
    return by_name[name]


def fetch(
    public: PublicSet,
    data_folder: Path,
    *,
    force: bool = False,
    patience: Patience | None = None,
    observe: Observer | None = None,
) -> tuple[Fetched, ...]:
    """Bring a public data set into the data folder; files that are there are kept, whatever is in them.

    Args:
        public: Which set.
        data_folder: Where to.
        force: Replace files that are there.
        patience: How often to try again.
        observe: Told of progress.

    Returns:
        What became of each file.

    Raises:
        ServiceError: If the server or the disk fails.
        VerificationError: If what arrived is not the published file; nothing of it is kept.
    """
    wanted = [file for file in public.files if force or not (data_folder / file.place).is_file()]
    if wanted:
        whole = [file for file in wanted if not file.member]
        if whole:
            download(public.remote, data_folder / whole[0].place, patience=patience, observe=observe)
        else:
            archive = data_folder / ".fetch" / f"{public.name}.zip"
            download(public.remote, archive, patience=patience, observe=observe)
            try:
                _extract(archive, wanted, data_folder)
            finally:
                archive.unlink(missing_ok=True)
    return tuple(_outcome(file, data_folder, fetched=file in wanted) for file in public.files)


def _outcome(file: LocalFile, data_folder: Path, *, fetched: bool) -> Fetched:
    path = data_folder / file.place
    if fetched:
        return Fetched(path, "fetched")
    return Fetched(path, "present" if matches(path, file.size_bytes, file.checksum) else "different")


def _extract(archive: Path, files: list[LocalFile], data_folder: Path) -> None:
    """Take the named members out, each checked, to places the archive has no say in."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for file in files:
                with opened.open(file.member) as member:
                    content = member.read(file.size_bytes + 1)
                if (
                    len(content) != file.size_bytes
                    or hashlib.new(file.checksum.kind, content).hexdigest() != file.checksum.value
                ):
                    raise VerificationError(
                        f"{archive.name}: {file.member} is not the published file", hint="nothing of it was kept"
                    )
                _write(data_folder / file.place, content)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError) as error:
        raise VerificationError(f"{archive.name} does not hold what was published", hint="nothing was kept") from error


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise ServiceError(f"cannot write {path}: {error.strerror}", hint="check its rights and free space") from error
