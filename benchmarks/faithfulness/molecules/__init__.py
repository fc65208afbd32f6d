"""Faithfulness of relevance on atoms: a graph Transformer on BACE and ClinTox."""
