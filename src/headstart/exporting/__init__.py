"""A trained network for other programs: ONNX, TorchScript, weights under the names of timm and torchvision."""
