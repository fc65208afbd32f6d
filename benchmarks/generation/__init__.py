"""What explaining every generated token costs beside its backward passes alone."""
