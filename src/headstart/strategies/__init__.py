"""Decide where weights start, what is trained, how fast, and in which mode each module runs."""

from headstart.optimization.schedules import constant, cosine, one_cycle, plateau
from headstart.strategies.adapters import Adapters
from headstart.strategies.finetune_all import FinetuneAll
from headstart.strategies.gradual_unfreeze import GradualUnfreeze
from headstart.strategies.head_only import HeadOnly
from headstart.strategies.knn import Knn
from headstart.strategies.l2_sp import L2SP
from headstart.strategies.layer_transfer import LayerTransfer
from headstart.strategies.linear_probe import LinearProbe
from headstart.strategies.lora import Lora
from headstart.strategies.lp_ft import LpFt
from headstart.strategies.nearest_centroid import NearestCentroid
from headstart.strategies.partial import BiasOnly, NormOnly
from headstart.strategies.ridge import Ridge
from headstart.strategies.scratch import Scratch
from headstart.strategies.solved import SolvedStrategy
from headstart.strategies.steps import GradientStrategy
from headstart.strategies.strategy import Strategy
from headstart.strategies.surgical import FinetuneLower, FinetuneUpper, Surgical
from headstart.strategies.truncate import Truncate
from headstart.strategies.wise_ft import WiseFt

__all__ = [
    "L2SP",
    "Adapters",
    "BiasOnly",
    "FinetuneAll",
    "FinetuneLower",
    "FinetuneUpper",
    "GradientStrategy",
    "GradualUnfreeze",
    "HeadOnly",
    "Knn",
    "LayerTransfer",
    "LinearProbe",
    "Lora",
    "LpFt",
    "NearestCentroid",
    "NormOnly",
    "Ridge",
    "Scratch",
    "SolvedStrategy",
    "Strategy",
    "Surgical",
    "Truncate",
    "WiseFt",
    "constant",
    "cosine",
    "one_cycle",
    "plateau",
]
