"""The coverage benchmark: its shrinking and its report, on little and on fakes."""
