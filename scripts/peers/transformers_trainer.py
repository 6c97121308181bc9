"""Fine-tune with the Trainer of Hugging Face's transformers, on images of torchvision's ImageFolder."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from peers.work import WARMUP, WORKERS, Work


class WithLoss(nn.Module):
    """A network that returns loss and logits, as the Trainer asks of it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss of a batch and its logits (N, K)."""
        logits = self.network(pixel_values)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def main(path: str) -> None:
    """Train and validate for all epochs, and report the accuracy; ``path`` is a file that describes the work."""
    work = Work.read(path)
    arguments = TrainingArguments(
        output_dir=str(Path(work.result).with_suffix("")),
        per_device_train_batch_size=work.batch,
        per_device_eval_batch_size=work.batch,
        num_train_epochs=work.epochs,
        learning_rate=work.rate,
        weight_decay=work.decay,
        lr_scheduler_type="cosine",
        warmup_steps=int(WARMUP * work.epochs * -(-len(work.images("train")) // work.batch)),
        eval_strategy="epoch",
        save_strategy="no",
        dataloader_num_workers=WORKERS,
        report_to="none",
    )
    trainer = Trainer(
        WithLoss(work.network()),
        arguments,
        data_collator=collated,
        train_dataset=work.images("train"),
        eval_dataset=work.images("val"),
        compute_metrics=scores,
    )
    trainer.train()
    work.report([row["eval_accuracy"] for row in trainer.state.log_history if "eval_accuracy" in row][-1])


def scores(found: Any) -> dict[str, float]:
    """Return the accuracy of the predicted logits (N, K)."""
    return {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())}


def collated(items: Any) -> dict[str, Tensor]:
    """Return a batch of images (N, 3, S, S) and labels (N,)."""
    images, labels = zip(*items, strict=True)
    return {"pixel_values": torch.stack(images), "labels": torch.tensor(labels)}
