"""best.ckpt: the weights of the lowest validation NME."""

import logging
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from wingmark.protocol import Protocol

log = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """Lightning's, whose best one so far counts on where training goes on, also after its folder was moved.

    Not where it was found by another protocol or on other validation faces: then the best one is chosen anew.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder,
            filename="best",
            monitor="val/nme",
            enable_version_counter=False,
            save_on_train_epoch_end=False,  # right after validation, where going on is exact
        )
        self.comparable = True
        self.last_model_path = str(folder / "last.ckpt")  # W&B keeps it too

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        same_rules = Protocol.from_dict(checkpoint["wingmark"]["protocol"]) == pl_module.protocol
        same_faces = checkpoint["LandmarkDataModule"]["val"] == trainer.datamodule.digests("val")
        self.comparable = same_rules and same_faces
        if not self.comparable:
            changed = "validation faces" if same_rules else "protocol"
            log.warning("the checkpoint was validated by another %s: best.ckpt is chosen anew", changed)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        best, last = Path(self.dirpath) / "best.ckpt", self.last_model_path
        none = state["best_model_score"] is None  # no validation had ended
        if none or not self.comparable or not best.is_file():  # there is no file where another run is gone on from
            return
        here = {"dirpath": self.dirpath, "last_model_path": last}
        here |= dict.fromkeys(("best_model_path", "kth_best_model_path"), str(best))
        super().load_state_dict({**state, **here, "best_k_models": {str(best): state["best_model_score"]}})
