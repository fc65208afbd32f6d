"""What there is to show: numbers and strings, none of them escaped yet.

Results make views and renderers take them, so that neither knows the other.
"""
