"""What ``lrp-hooks COMMAND`` does, one file a command."""
