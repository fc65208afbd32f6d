"""Models of other libraries: timm, PyTorch Geometric, diffusers and more."""
