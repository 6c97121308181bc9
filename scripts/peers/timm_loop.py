"""Fine-tune with the parts of timm's train.py: its data set, transforms, loader, optimizer and schedule."""

from typing import Any

from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn

from peers.work import WARMUP, WORKERS, Work, accuracy_of, device


def main(path: str) -> None:
    """Train and validate for all epochs, and report the accuracy; ``path`` is a file that describes the work."""
    work = Work.read(path)
    network = work.network().to(device())
    train, held_out = loader(work, "train"), loader(work, "val")
    optimizer = create_optimizer_v2(network, opt="adamw", lr=work.rate, weight_decay=work.decay)
    scheduler = schedule(optimizer, work.epochs * len(train))
    update, accuracy = 0, 0.0
    for _ in range(work.epochs):
        network.train()
        for images, targets in train:
            loss = nn.functional.cross_entropy(network(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            update += 1
            scheduler.step_update(update)
        accuracy = accuracy_of(network, held_out)
    work.report(accuracy)


def schedule(optimizer: Any, steps: int) -> Any:
    """Return timm's cosine schedule after a warmup. Its epochs are steps, so the warmup may end within an epoch."""
    rise = int(WARMUP * steps)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        num_epochs=steps - rise,
        warmup_epochs=rise,
        warmup_prefix=True,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return scheduler


def loader(work: Work, split: str) -> Any:
    """Return timm's loader of a split, without augmentation: a resized short side and the centre crop."""
    return create_loader(
        create_dataset("", root=f"{work.folder}/{split}"),
        input_size=(3, work.size, work.size),
        batch_size=work.batch,
        is_training=split == "train",
        no_aug=True,
        crop_pct=1.0,
        interpolation=work.interpolation,
        mean=work.mean,
        std=work.std,
        num_workers=WORKERS,
        device=device(),
    )
