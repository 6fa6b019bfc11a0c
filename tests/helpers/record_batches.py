"""Keep every batch that the Trainer hands over, to compare runs bit by bit."""

import lightning.pytorch as L
import torch
from torch import nn


class Recorder(L.LightningModule):
    """Keep what the Trainer hands over."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen = {"train": [], "val": [], "test": []}

    def _keep(self, stage, batch):
        self.seen[stage].append({k: v.clone() if torch.is_tensor(v) else v for k, v in batch.items()})
        return self.weight * batch["image"].mean()

    def training_step(self, batch, batch_idx):
        return self._keep("train", batch)

    def validation_step(self, batch, batch_idx):
        self._keep("val", batch)

    def test_step(self, batch, batch_idx):
        self._keep("test", batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(module, epochs=2, **options):
    recorder = Recorder()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "barebones": False}
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        **{**quiet, **options},
    )
    trainer.fit(recorder, datamodule=module)
    trainer.test(recorder, datamodule=module, verbose=False)
    return recorder.seen


def same(first, second):
    return all(
        torch.equal(a[k], b[k]) if torch.is_tensor(a[k]) else a[k] == b[k]
        for x, y in ((first, second),)
        for stage in x
        for a, b in zip(x[stage], y[stage], strict=True)
        for k in a
    )
