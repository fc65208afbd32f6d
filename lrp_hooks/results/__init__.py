"""What comes back: scores with their ledger, saved, compared, handed on."""
