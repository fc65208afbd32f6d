"""Pages, terminal text and figures; knows results, and nothing of what made them."""
