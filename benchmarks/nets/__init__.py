"""Random nets: does the ledger close, or is it told why not?"""
