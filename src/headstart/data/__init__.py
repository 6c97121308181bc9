"""Read data sets, and make their splits and batches. Knows no model."""

from headstart.data.csv_file import CsvFile
from headstart.data.embedded import Digits, Textures
from headstart.data.image_folder import ImageFolder
from headstart.data.image_split import ImageSplit
from headstart.data.module import ImageData
from headstart.data.torchvision_sets import TorchvisionSet

__all__ = ["CsvFile", "Digits", "ImageData", "ImageFolder", "ImageSplit", "Textures", "TorchvisionSet"]
