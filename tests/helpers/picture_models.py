"""A small model of pictures, and what makes its pixel values of a file."""

import base64
import io
import re

import matplotlib.image
import numpy as np
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification

SIZE = 16


def picture_model():
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=SIZE,
        patch_size=4,
        num_channels=3,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        id2label={0: "cat", 1: "dog", 2: "owl"},
    )
    return ViTForImageClassification(config).eval()


class Processor:
    """Resizes to what the model reads, and centres, as an image processor does."""

    image_mean = (0.5, 0.5, 0.5)

    def __call__(self, images, return_tensors):
        assert return_tensors == "pt"
        small = np.asarray(images.resize((SIZE, SIZE)), dtype=np.float32) / 255
        return {"pixel_values": torch.tensor(small).permute(2, 0, 1)[None] * 2 - 1}


def picture_file(kind="PNG", size=(40, 30)):
    """A picture of noise, as the bytes of a file."""
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def drawn_in(html):
    """The pictures of a page, as arrays of bytes' values."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [
        (matplotlib.image.imread(io.BytesIO(base64.b64decode(data))) * 255).round()
        for data in found
    ]
