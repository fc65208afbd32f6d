"""What vectors of decoders and maps of layers without a softmax cost."""
