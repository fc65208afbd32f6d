"""Faithfulness of explanations of images: ViTs that read digits."""
