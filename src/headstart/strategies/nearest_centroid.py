"""Each class is the mean of its training images; the nearest mean decides."""

from headstart.solvers.centroids import nearest_mean
from headstart.solvers.features import Features
from headstart.solvers.probe_fit import in_double, scores
from headstart.strategies.feature_classifier import FeatureClassifier, OnRow
from headstart.strategies.linear_head import put_into


class NearestCentroid(FeatureClassifier):
    """Euclidean distance to the class means of standardised features (Mensink et al. 2013): nothing to tune."""

    picked, solver = "", "class means"

    @classmethod
    def config_name(cls) -> str:
        """What the settings call it."""
        return "nearest_centroid"

    def compute_head(self, train: Features, validation: Features, on_row: OnRow) -> int:
        """Means to weights: the classifier is linear."""
        train, validation = in_double(train), in_double(validation)
        weight, bias = nearest_mean(train.values, train.targets, self.task.num_classes)
        row = {"candidate": 0.0, **scores("train", train.values @ weight.T + bias, train.targets)}
        on_row(0, row | scores("validation", validation.values @ weight.T + bias, validation.targets))
        put_into(self.head, weight, bias)
        return 0

    def compute_again(self, images: Features) -> None:
        """Take the means of these images."""
        put_into(self.head, *nearest_mean(images.values.double(), images.targets, self.task.num_classes))
