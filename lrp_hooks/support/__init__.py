"""What every room may use: files, extras, suggestions."""
