"""The work of AtomicPusher."""

from __future__ import annotations

import time
from typing import Any

from tfx import types
from tfx.components.pusher import executor as pusher
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, json_utils, proto_utils

from components.model_card_gen.artifact import MODEL_CARD
from components.object_storage.folders import is_remote, publish_folder

MODEL_CARD_KEY = "model_card"
"""Key of the input that Pusher does not have."""

ROLLED_BACK_FROM = "rolled_back_from"
"""The parameter with the ids of models that a rollback took out of serving; as a custom property of
a pushed model, 1 where it was not pushed because it is one of them."""

CARD_IN_VERSION = f"assets.extra/{MODEL_CARD}"
"""Where in a SavedModel its card lies; servers read nothing there but warm-up requests."""

# No server takes a folder of this name for a version.
_UNFINISHED = ".unfinished-"
_FINGERPRINT = "fingerprint.pb"
# Without it, no server loads a version.
_LAST = "saved_model.pb"


def newest_version(base: str) -> int:
    """The highest version number in a folder, 0 where there is none."""
    names = [name.strip("/") for name in fileio.listdir(base)] if fileio.exists(base) else []
    return max((int(name) for name in names if name.isdecimal()), default=0)


def next_version(base: str) -> str:
    """A version number above all in a folder: the time in seconds, or one more than the newest."""
    return str(max(int(time.time()), newest_version(base) + 1))


def publish(model_path: str, base: str, version: str) -> str:
    """Copy a SavedModel to `base/version` so that nobody sees a part of it.

    The copy is made under a name that no server takes for a version and renamed when whole; what
    an earlier, killed push left under such a name is removed first. Object storage renames no
    folders: there the file without which no server loads a version comes last.

    Returns:
      The version's folder.
    """
    if is_remote(base):
        publish_folder(model_path, f"{base}/{version}", last=(_LAST,))
        return f"{base}/{version}"
    fileio.makedirs(base)
    for name in fileio.listdir(base):
        if name.startswith(_UNFINISHED):
            fileio.rmtree(f"{base}/{name}")
    unfinished = f"{base}/{_UNFINISHED}{version}"
    io_utils.copy_dir(model_path, unfinished)
    destination = f"{base}/{version}"
    fileio.rename(unfinished, destination)
    return destination


def _same_export(one: str, other: str) -> bool:
    """Whether two folders hold the same SavedModel, by the fingerprint each export gets."""
    files = [f"{folder}/{_FINGERPRINT}" for folder in (one, other)]
    if not all(fileio.exists(file) for file in files):
        return False
    with fileio.open(files[0], "rb") as first, fileio.open(files[1], "rb") as second:
        return first.read() == second.read()


def _lacks_card(version: str, archive: str) -> bool:
    """Whether a version has no card, and the archive has one."""
    there, given = (fileio.exists(f"{folder}/{CARD_IN_VERSION}") for folder in (version, archive))
    return given and not there


def _remove_unfinished(base: str) -> None:
    """Remove the version that a killed push to object storage left without its last file."""
    newest = f"{base}/{newest_version(base)}"
    if fileio.exists(newest) and not fileio.exists(f"{newest}/{_LAST}"):
        fileio.rmtree(newest)


def publish_unless_newest(archive: str, base: str) -> str:
    """Have an archived model be the newest version, publishing it only where it is not.

    A version never changes, and another card makes no other model: the card in a version is that
    of its push, whatever the archive's card says. Only a version without any is published anew.

    Args:
      archive: the SavedModel that a Pusher kept, with its card.
      base: the folder of versions.

    Returns:
      The newest version, which is that model.
    """
    if is_remote(base):
        _remove_unfinished(base)
    newest = str(newest_version(base))
    folder = f"{base}/{newest}"
    if _same_export(archive, folder) and not _lacks_card(folder, archive):
        return newest
    version = next_version(base)
    publish(archive, base, version)
    return version


class Executor(pusher.Executor):
    """Pusher's executor with an atomic last step."""

    def Do(  # noqa: N802 TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Push if blessed; the PushedModel artifact says whether, where and as which version."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        if model.id in json_utils.loads(exec_properties.get(ROLLED_BACK_FROM) or "[]"):
            self._MarkNotPushed(pushed)
            pushed.set_int_custom_property(ROLLED_BACK_FROM, 1)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
        )
        base = destination.filesystem.base_directory
        # The archive first: once the version is visible, nothing is left that could fail.
        io_utils.copy_dir(self.GetModelPath(input_dict), pushed.uri)
        if cards := input_dict.get(MODEL_CARD_KEY):
            card = f"{artifact_utils.get_single_uri(cards)}/{MODEL_CARD}"
            io_utils.copy_file(card, f"{pushed.uri}/{CARD_IN_VERSION}", overwrite=True)
        version = publish_unless_newest(pushed.uri, base)
        self._MarkPushed(pushed, pushed_destination=f"{base}/{version}", pushed_version=version)
