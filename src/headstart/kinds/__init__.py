"""What can be known of a kind of target without a network."""

from headstart.kinds.metric import Metric


class Kind:
    """What can be known of a kind of target."""

    def __init__(self, name: str, primary: Metric) -> None:
        self.name, self.primary = name, primary


KINDS = {
    "classification": Kind("classification", Metric("accuracy", True, "%")),
    "regression": Kind("regression", Metric("mae", False, "")),
}
