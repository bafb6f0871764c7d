"""Downloads published weights from the Hugging Face hub and verifies them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

from engine.core.engine_errors import EngineError
from engine.models.published import Published, places
from engine.prepare.weights import BrokenWeights, file_digest

MANIFEST = "downloads.json"
STAGING = ".downloads"

Check = Literal["record", "hub", "none"]
"""What a file's hash was checked against: a published record, only the hub, or nothing."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class HubUnreachable(EngineError):
    """The hub cannot be reached; the message lists the missing files and their places."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file in the models folder."""

    local: str
    repo: str
    revision: str
    sha256: str
    checked: Check


def fetch(
    models: Path,
    files: Iterable[Published],
    report: Callable[[Fetched], None],
    endpoint: str | None = None,
) -> None:
    """Downloads missing files; an interrupted download resumes.

    Args:
        report: called with each file once it is in place.
        endpoint: of the hub; None for huggingface_hub's configured one.

    Raises:
        HubUnreachable: files are missing and the hub cannot be reached.
        BrokenWeights: a file's size or hash is not the published one.
    """
    wanted = list(files)
    missing = [file for file in wanted if not (models / file.local).is_file()]
    for file in wanted:
        try:
            fetched = _fetch(models, file, endpoint)
        except BrokenWeights:
            raise
        except Exception as error:  # the hub's client raises those of its own transport
            raise HubUnreachable(_offline(models, missing, error)) from error
        _record(models, fetched)
        report(fetched)
        missing = [other for other in missing if other is not file]


def _fetch(models: Path, file: Published, endpoint: str | None) -> Fetched:
    target = models / file.local
    hub_hash = None
    if not target.is_file():
        source = {"repo_id": file.repo, "filename": file.remote, "revision": file.revision}
        # Asked first: the download itself retries an unreachable hub for half a minute.
        hub_hash = _hub_hash(hf_hub_url(**source, endpoint=endpoint), endpoint)
        staging = models / STAGING / file.repo
        arrived = hf_hub_download(**source, local_dir=staging, endpoint=endpoint)
        checked = _check(Path(arrived), file, hub_hash)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(arrived, target)
        return checked
    return _check(target, file, hub_hash)


def _hub_hash(url: str, endpoint: str | None) -> str | None:
    """The hub's SHA-256 of a large file; None for small files, which have none."""
    tag: Any = get_hf_file_metadata(url, endpoint=endpoint).etag
    return tag if isinstance(tag, str) and _SHA256.fullmatch(tag) else None


def _check(path: Path, file: Published, hub_hash: str | None) -> Fetched:
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise BrokenWeights(
            f"{path} has {size} bytes instead of {file.size}. Delete it and run "
            "`voipavatar models download` again."
        )
    digest = file_digest(path)
    expected = file.sha256 or hub_hash
    if expected is not None and digest != expected:
        raise BrokenWeights(
            f"{path} is not the published file: its SHA-256 is {digest} instead of {expected}. "
            "Delete it and run `voipavatar models download` again."
        )
    checked: Check = "record" if file.sha256 else "hub" if hub_hash else "none"
    return Fetched(file.local, file.repo, file.revision, digest, checked)


def _record(models: Path, fetched: Fetched) -> None:
    """Records a download and its check; a hash once recorded is binding."""
    path = models / MANIFEST
    entries = json.loads(path.read_text()) if path.is_file() else {}
    known = entries.get(fetched.local)
    if known is not None and known["sha256"] != fetched.sha256:
        raise BrokenWeights(
            f"{models / fetched.local} changed since it was downloaded. Delete it and run "
            "`voipavatar models download` again."
        )
    if known is None or known["checked"] == "none":
        entries[fetched.local] = asdict(fetched)
        path.write_text(json.dumps(entries, indent=1))


def _offline(models: Path, missing: list[Published], error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return (
        f"The hub cannot be reached ({reason}). Missing are:\n{places(models, missing)}\n"
        "Put them there by other means, or try `voipavatar models download` again."
    )
