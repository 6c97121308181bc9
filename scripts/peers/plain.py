"""Fine-tune with a loop as in PyTorch's tutorials: ImageFolder, DataLoader, AdamW."""

from functools import partial

from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from peers.work import WORKERS, Work, accuracy_of, device


def main(path: str) -> None:
    """Train and validate for all epochs, and report the accuracy; ``path`` is a file that describes the work."""
    work = Work.read(path)
    network = work.network().to(device())
    load = partial(DataLoader, batch_size=work.batch, num_workers=WORKERS, pin_memory=device().type == "cuda")
    train, held_out = load(work.images("train"), shuffle=True), load(work.images("val"))
    optimizer = optim.AdamW(network.parameters(), lr=work.rate, weight_decay=work.decay)
    scheduler = LambdaLR(optimizer, partial(work.factor, steps=work.epochs * len(train)))
    accuracy = 0.0
    for _ in range(work.epochs):
        network.train()
        for images, targets in train:
            loss = nn.functional.cross_entropy(network(images.to(device())), targets.to(device()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        accuracy = accuracy_of(network, held_out)
    work.report(accuracy)
