"""What can be known of a kind of target without a network."""

from headstart.kinds.metric import Metric
from headstart.kinds.targets import ClassTargets, NumberTargets, TargetRules


class Kind:
    """What can be known of a kind of target."""

    def __init__(self, name: str, primary: Metric, targets: TargetRules) -> None:
        self.name, self.primary, self.targets = name, primary, targets


KINDS = {
    "classification": Kind("classification", Metric("accuracy", True, "%"), ClassTargets()),
    "regression": Kind("regression", Metric("mae", False, ""), NumberTargets()),
}
