"""The U-Net decoder of segmentation_models_pytorch as a head, to compare ``head=upconv`` with it on equal terms.

    pip install --no-deps segmentation_models_pytorch
    PYTHONPATH=scripts/peers headstart train --config-dir scripts/peers/conf 'allow_targets=[smp_unet]' head=smp_unet \
      head.stages=[stem,stage1,stage2,stage3,stage4] ...

Backbone, weights, images, views, loss, schedule and the choice of the epoch are those of headstart; only the decoder
differs. docs/tasks.md has the figures.
"""

from collections.abc import Sequence

from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

from headstart.errors import ConfigError
from headstart.tasks.dense_heads import DenseHead, PixelLayers

CHANNELS = (256, 128, 64, 32, 16)  # the default of segmentation_models_pytorch
STRIDES = [2, 4, 8, 16, 32]


class UnetLayers(PixelLayers):
    """Decoder and output layer of ``smp.Unet``; the maps have the strides 2 to 32."""

    def __init__(self, maps: Sequence[tuple[int, int, int]], size: int, outputs: int) -> None:
        super().__init__(maps, size)
        if [size // side for _, side, _ in maps] != STRIDES:
            raise ConfigError(
                f"head=smp_unet needs one stage of each of the strides {STRIDES}: name them in head.stages."
            )
        self.decoder = UnetDecoder(
            encoder_channels=(3, *(channels for channels, _, _ in maps)), decoder_channels=CHANNELS
        )
        self.output = SegmentationHead(CHANNELS[-1], outputs)

    def coarse(self, maps: list[Tensor]) -> Tensor:
        """Return outputs (N, K, size, size)."""
        image = maps[0].new_empty(len(maps[0]), 3, self.size, self.size)  # the decoder only asks for its shape
        outputs: Tensor = self.output(self.decoder([image, *maps]))
        return outputs


class UnetHead(DenseHead):
    """Settings of this head."""

    kind = "smp_unet"
    inits = ("default",)

    def __init__(self, stages: Sequence[str] | None = None) -> None:
        super().__init__(stages)

    def _layers(self, feature_dim: int, classes: int) -> nn.Module:
        return UnetLayers(self.maps, self.size, classes)
