"""Where weights start, what is trained, how fast, and in which mode each module runs."""

from headstart.strategies.finetune_all import FinetuneAll
from headstart.strategies.finetune_lower import FinetuneLower
from headstart.strategies.finetune_upper import FinetuneUpper
from headstart.strategies.head_only import HeadOnly
from headstart.strategies.linear_probe import LinearProbe
from headstart.strategies.schedules import constant, cosine
from headstart.strategies.scratch import Scratch
from headstart.strategies.strategy import Strategy

__all__ = [
    "FinetuneAll",
    "FinetuneLower",
    "FinetuneUpper",
    "HeadOnly",
    "LinearProbe",
    "Scratch",
    "Strategy",
    "constant",
    "cosine",
]
