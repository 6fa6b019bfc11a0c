import lightning as L
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from fovea.optim.finetune import param_groups


def data(n=16):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 6, generator=g), torch.randint(0, 3, (n,), generator=g)


class Share(Sampler):
    """Give each process every so many samples, in order, so that all together take those of one."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        return iter(range(rank, self.n, size))

    def __len__(self):
        return self.n // (dist.get_world_size() if dist.is_initialized() else 1)


def loader(batch_size=4, n=16):
    return DataLoader(TensorDataset(*data(n)), batch_size=batch_size, sampler=Share(n))


def net(*, norm=True, drop=0.0):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8, bias=not norm),  # a bias before a norm has no gradient
        nn.BatchNorm1d(8) if norm else nn.Identity(),
        nn.Dropout(drop),
        nn.ReLU(),
        nn.Linear(8, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )


class Toy(L.LightningModule):
    def __init__(self, net, finetune=None, lr=0.1):
        super().__init__()
        self.net, self.finetune, self.lr = net, finetune, lr

    def training_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", F.cross_entropy(self.net(batch[0]), batch[1]))

    def test_step(self, batch, batch_idx):
        self.log("test", F.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        groups = param_groups(self.net, lr=self.lr, weight_decay=0.01, plan=self.finetune)
        return torch.optim.SGD(groups, lr=self.lr, momentum=0.9)


def trainer(folder, *callbacks, **kw):
    options = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "use_distributed_sampler": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 1,
        "default_root_dir": folder,
    }
    return L.Trainer(callbacks=list(callbacks), **(options | kw))


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Scripted(Toy):
    """Log these values, one a validation."""

    def __init__(self, values):
        super().__init__(net())
        self.values = iter(values)

    def on_validation_epoch_end(self):
        self.log("val/acc", torch.tensor(next(self.values)))
