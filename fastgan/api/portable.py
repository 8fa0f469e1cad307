"""An estimator's model without its run: saved, pushed to the Hugging Face Hub, and read back."""

from __future__ import annotations

import importlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Literal, TypeVar

from fastgan.api.in_use import InUse
from fastgan.api.messages import python_errors
from fastgan.inference import export, export_place, saved_model
from fastgan.inference.saved_model import Provenance
from fastgan.inference.trained_run import TrainedModel, TrainedRun
from fastgan.reporting import labels
from fastgan.runtime.device import choose_device

P = TypeVar("P", bound="Portable")
HUB_ID = r"[\w.-]+/[\w.-]+"


class Portable(InUse):
    """The part of an estimator that travels: weights in safetensors, settings, and a model card. No pickles."""

    _provenance: Provenance

    def _use(self, model: TrainedModel) -> None:
        raise NotImplementedError

    @classmethod
    def _of(cls: type[P], model: TrainedModel, device: Literal["auto", "cpu", "cuda"]) -> P:
        raise NotImplementedError

    @python_errors()
    def save_pretrained(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write model.safetensors, config.json and README.md, a model card, into a new folder.

        They label images and draw them, and hold none that the model was trained on; training cannot go on from them
        (`save` keeps the run).

        Args:
            force: replace a model that was saved there.

        Raises:
            ValueError: something else is there, or it cannot be written.
        """
        self._check_fitted()
        of = saved_model.provenance(self._model) if isinstance(self._model, TrainedRun) else self._provenance
        export.save(self._model, of, Path(path), force, labels.SHOWN)
        return Path(path)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str = "Upload a model by fastgan",
    ) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face Hub; returns the address of the commit.

        Args:
            repo_id: such as name/model; it is made if it is absent.
            private: whether it is made private. None: as your account's setting has it.
            token: None: the one that `hf auth login` has stored.

        Raises:
            ImportError: huggingface_hub is not installed.
        """
        self._check_fitted()
        api = _hub("push_to_hub").HfApi(token=token)
        with tempfile.TemporaryDirectory(prefix="fastgan-") as folder:
            written = self.save_pretrained(Path(folder) / "model")
            api.create_repo(repo_id, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repo_id, folder_path=written, commit_message=commit_message))

    @classmethod
    @python_errors()
    def from_pretrained(
        cls: type[P],
        source: str | os.PathLike[str],
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        revision: str | None = None,
        token: str | None = None,
    ) -> P:
        """The model in a folder that `save_pretrained` or an export has written, or of the Hugging Face Hub.

        It predicts, transforms and draws as the one that was saved. It has `class_prior_` and, in `history_`, the
        figures of its last evaluation, but neither `labels_` nor a run.

        Args:
            source: a folder, or an id such as name/model.
            revision: of the Hub: a branch, a tag or a commit.

        Raises:
            ValueError: for a folder that holds no model, or a damaged one, and for an id that the Hub does not give.
            ImportError: for an id, where huggingface_hub is not installed.
        """
        place = Path(source)
        if not place.is_dir():
            if not (isinstance(source, str) and re.fullmatch(HUB_ID, source)):
                raise ValueError(f"source {source}: no such folder; give one, or an id of the Hub such as name/model")
            place = _downloaded(source, revision, token)
        model, of = saved_model.read(place, choose_device(device))
        found = cls._of(model, device)
        found._provenance = of
        found._use(model)
        return found


def _hub(what: str) -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ImportError(f"{what} needs huggingface_hub: pip install huggingface_hub") from error


def _downloaded(source: str, revision: str | None, token: str | None) -> Path:
    """The folder in which the Hub's own cache keeps a model."""
    hub = _hub(f"source {source}: no such folder, and the Hub")
    try:
        return Path(hub.snapshot_download(source, revision=revision, token=token, allow_patterns=[*export_place.MODEL]))
    except (OSError, ValueError) as error:  # its own errors are of these kinds, several lines each
        cause = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise ValueError(
            f"source {source}: no such folder, and the Hub does not give it ({cause}); give either"
        ) from error
