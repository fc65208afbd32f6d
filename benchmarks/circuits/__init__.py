"""How few neurons carry a behaviour, by which score they are chosen."""
