"""The manifest of a package: its head is read to the letter, and what follows from the nodes is worked out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitspike import digests
from bitspike.errors import PackageError
from bitspike.integer.bounds.widths import bits_of, widths
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.entries import damaged, entry_of
from bitspike.integer.schedule import schedule

FORMAT = "bitspike-network"
VERSIONS = (1, 2)
"""Those that are read. A network is written in the first that holds it; 2 has neurons that round toward zero."""
MANIFEST, WEIGHTS, VECTORS = "manifest.json", "weights.safetensors", "vectors.safetensors"


def manifest_of(net: IntegerNetwork, tensors: dict[str, str], files: dict[str, str]) -> dict[str, Any]:
    """Return the manifest of a network, with the digests of its tensors and of its tensor files by name."""
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "format_version": _version(net),
        "T": net.steps,
        "schedule": schedule(net),
        "source": dict(net.source),
        "notes": list(net.notes),
        "nodes": [entry_of(n) for n in net.nodes],
        "outputs": [n.id for n in net.outputs],
        "widths": _widths(net),
        "tensors": tensors,
        "files": [{"name": name, "sha256": digest} for name, digest in files.items()],
    }
    return {**manifest, "digest": digests.of_values(manifest)}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the head of a manifest."""
    path = folder / MANIFEST
    if not folder.is_dir() or not path.is_file():
        what = "does not exist" if not folder.exists() else "is not a network package: it holds no manifest.json"
        raise PackageError(f"{folder} {what}", fix="the network/ folder of a finished run, or what bs.save wrote")
    try:
        manifest = digests.read_json(path)
    except (ValueError, OSError) as error:
        raise damaged(f"{path} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise PackageError(
            f"{path} is not a Bitspike manifest", fix="the network/ folder of a run, or what bs.save wrote"
        )
    version = manifest.get("format_version")
    if isinstance(version, bool) or version not in VERSIONS:
        raise PackageError(
            f"{path} has format version {version}, this release reads {' and '.join(map(str, VERSIONS))}",
            fix="the release that saved it",
        )
    if not isinstance(manifest.get("tensors"), dict) or not isinstance(manifest.get("nodes"), list):
        raise damaged(f"{path} is damaged: its list of tensors or nodes is missing")
    return manifest


def digest_of(manifest: dict[str, Any]) -> str:
    """Return the digest of a whole package: the manifest holds those of its files."""
    return digests.of_values(manifest)


def states_digest(manifest: dict[str, Any]) -> bool:
    """Tell whether a manifest holds its own digest; those of earlier versions do not."""
    return "digest" in manifest


def changed_files(manifest: dict[str, Any], folder: Path) -> list[tuple[str, str, str]]:
    """Return by name every file that is not what was saved, with the digest that is stated and the one found.

    The manifest comes last, where it states a digest of its own.

    Raises:
        PackageError: the manifest does not state the digest of both, or a file is missing.
    """
    try:
        stated = {entry["name"]: str(entry["sha256"]) for entry in manifest["files"]}
    except (KeyError, TypeError) as error:
        raise damaged(f"{folder / MANIFEST} is damaged: its list of files cannot be read") from error
    if set(stated) != {WEIGHTS, VECTORS} or len(manifest["files"]) != 2:
        names = ", ".join(map(str, stated)) or "no file"
        raise damaged(f"{folder / MANIFEST} is damaged: it states digests of {names}")
    wrong = []
    for name, digest in stated.items():
        if not (folder / name).is_file():
            raise damaged(f"{folder / name} is missing from the package")
        try:
            actual = digests.of_file(folder / name)
        except OSError as error:
            raise damaged(f"{folder / name} cannot be read: {error}") from error
        if actual != digest:
            wrong.append((name, digest, actual))
    if states_digest(manifest) and (actual := digest_of(manifest)) != manifest["digest"]:
        wrong.append((MANIFEST, str(manifest["digest"]), actual))
    return wrong


def contradictions(manifest: dict[str, Any], net: IntegerNetwork) -> list[tuple[str, str, str]]:
    """Return what a manifest says of a network and the network itself does not: where, what follows, what is stated.

    ``schedule`` and ``outputs`` must be what follows from the nodes. Ranges of ``widths`` must hold the ranges that are
    proven now, and their bits must be the bits of these ranges: a later release may prove narrower ones.
    """
    wrong = []
    for key, now in (("schedule", schedule(net)), ("outputs", [n.id for n in net.outputs])):
        if key in manifest and manifest[key] != now:  # the earliest packages have no schedule
            wrong.append((key, str(now), str(manifest[key])))
    stated, proven = manifest.get("widths"), _widths(net)
    if not isinstance(stated, list) or len(stated) != len(proven):
        return [*wrong, ("widths", f"{len(proven)} layers", "another list")]
    for old, new in zip(stated, proven, strict=True):
        if not _holds(old, new):
            wrong.append((f"widths of {new['layer']}", str(new), str(old)))
    return wrong


def _version(net: IntegerNetwork) -> int:
    """Return the first version of the format that holds a network: a reader of an older one would round otherwise."""
    return 2 if any(node.rounding != "floor" for node in net.neurons) else 1


def _holds(stated: Any, proven: dict[str, Any]) -> bool:
    if not isinstance(stated, dict) or stated.get("layer") != proven["layer"]:
        return False
    for key in ("accumulator", "membrane"):
        ends, bits = stated.get(key), stated.get(f"{key}_bits")
        if not isinstance(ends, list) or [type(n) for n in (*ends, bits)] != [int] * 3:
            return False
        low, high = ends
        if not (low <= proven[key][0] and proven[key][1] <= high and bits == bits_of(low, high)):
            return False
    return True


def _widths(net: IntegerNetwork) -> list[dict[str, Any]]:
    bounds = {w.layer: w for w in widths(net)}
    return [
        {
            "layer": w.layer,
            "accumulator": list(w.accumulator),
            "accumulator_bits": w.accumulator_bits,
            "membrane": list(w.membrane),
            "membrane_bits": w.membrane_bits,
        }
        for w in bounds.values()
    ]
