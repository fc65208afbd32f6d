"""Chemistry language: do explanations find the atoms that react?"""
