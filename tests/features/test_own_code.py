from torch import nn

from headstart.features.prefix import own_entry
from headstart.inputs.decoding import Decoder


def test_keys_of_features_hold_the_code_of_other_packages_only() -> None:
    class Own(nn.Module):
        """A layer of another package."""

    assert own_entry([nn.ReLU(), Decoder(8, "bilinear", "crop", pixel_range=None)]) == {}
    (names,) = own_entry([nn.ReLU(), Own()]).values()
    assert list(names) == ["test_own_code"]
    assert len(names["test_own_code"]) == 64
