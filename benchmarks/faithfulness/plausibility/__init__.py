"""Plausibility: do explanations name the words that humans mark?"""
